//! The text of simulated models, which depends only on the request.

use super::config::TaskCall;
use super::shape::Shape;

/// The number of characters in a fragment of JSON.
const PIECE: usize = 8;

/// The properties shared by all responses of a provider.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) echo: bool,
    pub(super) tokens: Option<usize>,
    /// The account of the provider's key.
    pub(super) account: u64,
    /// The tool calls of a task, by step.
    pub(super) task: Vec<Vec<TaskCall>>,
    words: Vec<String>,
}

/// The tokens of an answer, and the reason for an early end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) tokens: Vec<String>,
    /// Whether the token limit was reached.
    pub(super) cut_short: bool,
    /// The stop sequence that was reached.
    pub(super) stopped: Option<String>,
}

impl Output {
    /// Ends the tokens before the first stop sequence, or at the limit.
    pub(super) fn within(mut tokens: Vec<String>, limit: Option<usize>, stops: &[String]) -> Self {
        let whole = tokens.concat();
        let found = stops.iter().filter_map(|stop| Some((whole.find(stop.as_str())?, stop)));
        let stop = found.min_by_key(|(at, _)| *at);
        if let Some((mut left, _)) = stop {
            tokens.retain_mut(|token| {
                token.truncate(left.min(token.len()));
                left -= token.len();
                !token.is_empty()
            });
        }
        let cut_short = limit.is_some_and(|limit| limit < tokens.len());
        tokens.truncate(limit.unwrap_or(usize::MAX));
        Self { tokens, cut_short, stopped: stop.filter(|_| !cut_short).map(|(_, stop)| stop.clone()) }
    }

    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }
}

/// The inputs of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Question<'a> {
    /// The last user message.
    pub(super) asked: &'a str,
    /// Further texts at the beginning of the answer, one token each.
    pub(super) notes: &'a [String],
    /// The beginning of the answer, if the request contains one.
    pub(super) prefix: &'a str,
    /// The maximum number of tokens.
    pub(super) limit: Option<usize>,
    /// The stop sequences.
    pub(super) stops: &'a [String],
    /// The index of the choice.
    pub(super) choice: usize,
}

impl Voice {
    pub(super) fn new(name: &str, created: u64, text: &str, echo: bool, tokens: Option<usize>) -> Self {
        Self {
            name: name.to_owned(),
            created,
            echo,
            tokens,
            account: 0,
            task: Vec::new(),
            words: text.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Returns the approximate number of tokens in an answer, for its delay.
    pub(super) fn token_count(&self, shape: Shape) -> usize {
        shape.tokens.or(self.tokens).unwrap_or(self.words.len())
    }

    /// Returns the tokens of the answer: the echo of the prompt, the notes, and then one token per word.
    pub(super) fn say(&self, question: Question<'_>, shape: Shape) -> Output {
        let echo =
            (self.echo && !question.asked.is_empty()).then(|| format!("You said: \u{201c}{}\u{201d}.", question.asked));
        let mut tokens: Vec<String> = echo.into_iter().chain(question.notes.iter().cloned()).collect();
        let count = shape.tokens.or(self.tokens).unwrap_or(self.words.len() + tokens.len());
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
        remove_prefix(question.prefix, &mut tokens);
        Output::within(tokens, question.limit, question.stops)
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

/// Removes the prefix from the tokens. A prefix that does not match is ignored.
fn remove_prefix(prefix: &str, tokens: &mut Vec<String>) {
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

/// Splits a text without words into fragments.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(PIECE).map(|piece| piece.iter().collect()).collect()
}

/// Returns the token count of a text, with one token per word.
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
    fn echoes_the_prompt_before_the_text() {
        let asked = Question { asked: "hi", ..Question::default() };
        let tokens = say(&voice(None), asked);
        assert_eq!(tokens.concat(), "You said: “hi”. one two three");
        assert_eq!(tokens.len(), 4);
        assert_eq!(say(&voice(Some(60)), asked).len(), 60);
        assert_eq!(say(&voice(Some(0)), asked).len(), 0);
    }

    #[test]
    fn continues_a_prefix() {
        let whole = say(&voice(None), Question::default()).concat();
        for (at, _) in whole.char_indices() {
            let rest = Question { prefix: &whole[..at], ..Question::default() };
            assert_eq!(say(&voice(None), rest).concat(), whole[at..]);
        }
        let other = Question { prefix: "something else", ..Question::default() };
        assert_eq!(say(&voice(None), other).concat(), whole);
    }

    #[test]
    fn stops_at_the_token_limit() {
        let asked = |limit| Question { limit: Some(limit), ..Question::default() };
        let said = voice(None).say(asked(2), Shape::default());
        assert!(said.cut_short);
        assert_eq!(said.text(), "one two");
        assert!(!voice(None).say(asked(3), Shape::default()).cut_short);
    }

    #[test]
    fn stops_before_a_stop_sequence() {
        let stops = ["three".to_owned(), "wo th".to_owned(), "never".to_owned()];
        let said = voice(None).say(Question { stops: &stops, ..Question::default() }, Shape::default());
        assert_eq!(said.tokens, ["one", " t"]);
        assert_eq!(said.stopped.as_deref(), Some("wo th"));
        let said = voice(None).say(Question { stops: &stops, limit: Some(1), ..Question::default() }, Shape::default());
        assert_eq!((said.text().as_str(), said.cut_short, said.stopped), ("one", true, None));
    }

    #[test]
    fn places_notes_after_the_echo() {
        let notes = [" A note.".to_owned()];
        let asked = Question { asked: "hi", notes: &notes, ..Question::default() };
        assert_eq!(say(&voice(None), asked).concat(), "You said: “hi”. A note. one two three");
        assert_eq!(say(&voice(Some(1)), asked).len(), 1);
    }
}
