//! A streamed chat answer put together again, as a client does it.

use crate::dialect::{
    codec::StreamItem,
    hub::{CalledFunction, Choice, Chunk, Content, Delta, ExtraContent, Message, Response, Role, ToolCall},
};

/// The pieces of an answer as the plain answer that they come to, without the log-probabilities.
///
/// # Panics
/// The pieces are such as no client could put together.
pub(crate) fn fold<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> Response {
    let mut answer = Response { object: "chat.completion".to_owned(), ..Response::default() };
    for chunk in chunks {
        assert_eq!(chunk.object, "chat.completion.chunk");
        (answer.id, answer.created, answer.model) = (chunk.id.clone(), chunk.created, chunk.model.clone());
        if let Some(usage) = &chunk.usage {
            assert!(answer.usage.replace(usage.clone()).is_none(), "the usage is told twice");
        }
        for piece in &chunk.choices {
            let at = answer.choices.iter().position(|choice| choice.index == piece.index).unwrap_or_else(|| {
                assert_eq!(piece.delta.role, Some(Role::Assistant), "the first piece names the speaker");
                let message = Message { role: Role::Assistant, ..Message::default() };
                answer.choices.push(Choice { index: piece.index, message, ..Choice::default() });
                answer.choices.len() - 1
            });
            let choice = &mut answer.choices[at];
            assert!(choice.finish_reason.is_none(), "a piece after the last one");
            add(&mut choice.message, &piece.delta);
            choice.finish_reason.clone_from(&piece.finish_reason);
        }
    }
    answer.choices.sort_by_key(|choice| choice.index);
    answer
}

/// The pieces among the items of a stream.
pub(crate) fn chunks(items: &[StreamItem]) -> impl Iterator<Item = &Chunk> {
    items.iter().filter_map(|item| match item {
        StreamItem::Chunk(chunk) => Some(chunk),
        StreamItem::Thought(_) | StreamItem::Error(_) | StreamItem::Done => None,
    })
}

fn add(message: &mut Message, delta: &Delta) {
    if let Some(more) = &delta.content {
        match message.content.get_or_insert_with(|| Content::Text(String::new())) {
            Content::Text(text) => text.push_str(more),
            Content::Parts(_) => unreachable!("deltas are texts"),
        }
    }
    for (text, more) in
        [(&mut message.refusal, &delta.refusal), (&mut message.reasoning_content, &delta.reasoning_content)]
    {
        if let Some(more) = more {
            text.get_or_insert_default().push_str(more);
        }
    }
    if let Some(extra) = &delta.extra_content {
        extend(message.extra_content.get_or_insert_default(), extra);
    }
    for piece in delta.tool_calls.iter().flatten() {
        let calls = message.tool_calls.get_or_insert_default();
        let at = piece.index as usize;
        if at == calls.len() {
            assert!(piece.id.is_some(), "a call begins with its id");
            calls.push(ToolCall::default());
        }
        let call = &mut calls[at];
        call.id.push_str(piece.id.as_deref().unwrap_or_default());
        call.kind = piece.kind.unwrap_or(call.kind);
        if let Some(function) = &piece.function {
            let CalledFunction { name, arguments } = &mut call.function;
            name.push_str(function.name.as_deref().unwrap_or_default());
            arguments.push_str(function.arguments.as_deref().unwrap_or_default());
        }
        if let Some(extra) = &piece.extra_content {
            extend(call.extra_content.get_or_insert_default(), extra);
        }
    }
}

fn extend(extra: &mut ExtraContent, more: &ExtraContent) {
    if let Some(thoughts) = &more.anthropic {
        extra.anthropic.get_or_insert_default().extend(thoughts.iter().cloned());
    }
    if more.google.is_some() {
        extra.google.clone_from(&more.google);
    }
}
