//! Thoughts that a model writes into its text between `<think>` and `</think>`.

use super::decode_response::Said;

const BEGIN: &str = "<think>";
const END: &str = "</think>";

/// Splits the text of one choice; a state machine for streams.
#[derive(Clone, Debug, Default)]
pub(super) struct ThinkTags {
    state: State,
    /// Text that may be the beginning of a tag.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space has come.
    #[default]
    Start,
    Thinking,
    /// Behind the thoughts, where line feeds are no part of the text.
    Behind,
    Text,
}

impl ThinkTags {
    /// Moves the thoughts in the next piece of text to its reasoning.
    pub(super) fn split(&mut self, said: &mut Said) {
        if said.content.is_empty() || self.state == State::Text && self.held.is_empty() {
            return;
        }
        let mut rest = std::mem::take(&mut self.held) + &std::mem::take(&mut said.content);
        loop {
            match self.state {
                State::Start => {
                    let text = rest.trim_start();
                    if let Some(thoughts) = text.strip_prefix(BEGIN) {
                        (self.state, rest) = (State::Thinking, thoughts.to_owned());
                    } else if BEGIN.starts_with(text) {
                        self.held = rest;
                        return;
                    } else {
                        self.state = State::Text;
                    }
                }
                State::Thinking => match rest.split_once(END) {
                    Some((thoughts, text)) => {
                        said.reasoning.push_str(thoughts);
                        (self.state, rest) = (State::Behind, text.to_owned());
                    }
                    None => {
                        let held = (1..END.len()).rev().find(|n| rest.ends_with(&END[..*n])).unwrap_or(0);
                        self.held = rest.split_off(rest.len() - held);
                        said.reasoning.push_str(&rest);
                        return;
                    }
                },
                State::Behind => {
                    let text = rest.trim_start_matches(['\n', '\r']);
                    if text.is_empty() {
                        return;
                    }
                    (self.state, rest) = (State::Text, text.to_owned());
                }
                State::Text => {
                    said.content = rest;
                    return;
                }
            }
        }
    }

    /// Returns what is held back when the text ends.
    pub(super) fn finish(&mut self) -> Said {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => Said { reasoning: held, ..Said::default() },
            _ => Said { content: held, ..Said::default() },
        }
    }

    /// Splits a whole text.
    pub(super) fn split_whole(said: &mut Said) {
        let mut tags = Self::default();
        tags.split(said);
        let rest = tags.finish();
        said.content.push_str(&rest.content);
        said.reasoning.push_str(&rest.reasoning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_thoughts_wherever_the_text_is_cut() {
        for (text, thoughts, rest) in [
            ("<think>hm < x</think>\n\nHi <b>", "hm < x", "Hi <b>"),
            (" <think></think>Hi", "", "Hi"),
            ("Hi <think>x</think>", "", "Hi <think>x</think>"),
            ("<think>cut", "cut", ""),
            ("<thi", "", "<thi"),
        ] {
            let (mut tags, mut all) = (ThinkTags::default(), Said::default());
            for piece in text.chars() {
                let mut said = Said { content: piece.to_string(), ..Said::default() };
                tags.split(&mut said);
                all.content.push_str(&said.content);
                all.reasoning.push_str(&said.reasoning);
            }
            let last = tags.finish();
            assert_eq!((all.reasoning + &last.reasoning, all.content + &last.content), (thoughts.into(), rest.into()));
        }
    }
}
