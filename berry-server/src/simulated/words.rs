//! What simulated models say: the same words for the same question.

use super::dialect::Shape;

/// Who speaks: what a provider's answers have in common.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) echo: bool,
    pub(super) tokens: Option<usize>,
    words: Vec<String>,
}

/// The tokens of an answer, and whether the limit cut it short.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) tokens: Vec<String>,
    pub(super) cut_short: bool,
}

impl Said {
    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }
}

/// What an answer follows from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Question<'a> {
    /// The user's last message.
    pub(super) asked: &'a str,
    /// The beginning of the answer, when the request brings one.
    pub(super) prefix: &'a str,
    /// The most tokens that the request allows.
    pub(super) limit: Option<usize>,
    /// The number of the choice.
    pub(super) choice: usize,
}

impl Voice {
    pub(super) fn new(name: &str, created: u64, text: &str, echo: bool, tokens: Option<usize>) -> Self {
        Self {
            name: name.to_owned(),
            created,
            echo,
            tokens,
            words: text.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// About how many tokens an answer has, for its pace.
    pub(super) fn token_count(&self, shape: Shape) -> usize {
        shape.tokens.or(self.tokens).unwrap_or(self.words.len())
    }

    /// The answer in tokens: the echo of the question in one, then word by word.
    pub(super) fn say(&self, question: Question<'_>, shape: Shape) -> Said {
        let echo =
            (self.echo && !question.asked.is_empty()).then(|| format!("You said: \u{201c}{}\u{201d}.", question.asked));
        let count = shape.tokens.or(self.tokens).unwrap_or(self.words.len() + usize::from(echo.is_some()));
        let mut tokens: Vec<String> = echo.into_iter().collect();
        if self.words.is_empty() {
            tokens.resize(count, ".".to_owned());
        }
        for word in self.words.iter().cycle().take(count.saturating_sub(tokens.len())) {
            let space = if tokens.is_empty() { "" } else { " " };
            tokens.push(widen(format!("{space}{word}"), shape.huge));
        }
        tokens.truncate(count);
        if question.choice > 0
            && let Some(first) = tokens.first_mut()
        {
            first.insert_str(0, &format!("[{}] ", question.choice));
        }
        go_on_after(question.prefix, &mut tokens);
        let cut_short = question.limit.is_some_and(|limit| limit < tokens.len());
        tokens.truncate(question.limit.unwrap_or(usize::MAX));
        Said { tokens, cut_short }
    }
}

fn widen(token: String, bytes: Option<usize>) -> String {
    match bytes {
        Some(bytes) if bytes > token.len() => {
            let fill = "x".repeat(bytes - token.len());
            token + &fill
        }
        _ => token,
    }
}

/// Leaves out what the prefix says already; a prefix that the answer does not begin with is left
/// unheeded.
fn go_on_after(prefix: &str, tokens: &mut Vec<String>) {
    if prefix.is_empty() || !tokens.concat().starts_with(prefix) {
        return;
    }
    let mut left = prefix.len();
    tokens.retain_mut(|token| {
        let cut = left.min(token.len());
        left -= cut;
        token.drain(..cut);
        cut == 0 || !token.is_empty()
    });
}

/// A count of tokens that is near enough: a simulated tokenizer takes words.
pub(super) fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(tokens: Option<usize>) -> Voice {
        Voice::new("sim", 0, "one two three", true, tokens)
    }

    fn say(voice: &Voice, question: Question<'_>) -> Vec<String> {
        voice.say(question, Shape::default()).tokens
    }

    #[test]
    fn the_question_comes_back_before_the_text() {
        let asked = Question { asked: "hi", ..Question::default() };
        let tokens = say(&voice(None), asked);
        assert_eq!(tokens.concat(), "You said: “hi”. one two three");
        assert_eq!(tokens.len(), 4);
        assert_eq!(say(&voice(Some(60)), asked).len(), 60);
        assert_eq!(say(&voice(Some(0)), asked).len(), 0);
    }

    #[test]
    fn a_prefix_is_gone_on_from() {
        let whole = say(&voice(None), Question::default()).concat();
        for (at, _) in whole.char_indices() {
            let rest = Question { prefix: &whole[..at], ..Question::default() };
            assert_eq!(say(&voice(None), rest).concat(), whole[at..]);
        }
        let other = Question { prefix: "something else", ..Question::default() };
        assert_eq!(say(&voice(None), other).concat(), whole);
    }

    #[test]
    fn a_limit_cuts_short() {
        let asked = |limit| Question { limit: Some(limit), ..Question::default() };
        let said = voice(None).say(asked(2), Shape::default());
        assert!(said.cut_short);
        assert_eq!(said.text(), "one two");
        assert!(!voice(None).say(asked(3), Shape::default()).cut_short);
    }
}
