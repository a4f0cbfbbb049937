//! The published schema of Messages requests.

use crate::check::Expected::{Anything, Either, Flag, List, Map, Number, Object, Same, Tagged, Text, Whole, Word};
use crate::check::{Expected, Field, may, must};

static CACHE: Expected = Tagged("type", &[("ephemeral", &[may("ttl", Word(&["5m", "1h"]))])]);

const fn cache() -> Field {
    may("cache_control", Same(&CACHE))
}

/// A kind of content block, as an entry of a table.
type Block = (&'static str, &'static [Field]);

const TEXT: Block = ("text", &[must("text", Text), may("citations", List(&Anything)), cache()]);

const IMAGE: Block = (
    "image",
    &[
        must(
            "source",
            Tagged(
                "type",
                &[
                    (
                        "base64",
                        &[
                            must("media_type", Word(&["image/jpeg", "image/png", "image/gif", "image/webp"])),
                            must("data", Text),
                        ],
                    ),
                    ("url", &[must("url", Text)]),
                    ("file", &[must("file_id", Text)]),
                ],
            ),
        ),
        cache(),
    ],
);

const DOCUMENT: Block = (
    "document",
    &[
        must(
            "source",
            Tagged(
                "type",
                &[
                    ("base64", &[must("media_type", Word(&["application/pdf"])), must("data", Text)]),
                    ("text", &[must("media_type", Word(&["text/plain"])), must("data", Text)]),
                    ("content", &[must("content", Either(&[Text, List(&Tagged("type", &[TEXT, IMAGE]))]))]),
                    ("url", &[must("url", Text)]),
                    ("file", &[must("file_id", Text)]),
                ],
            ),
        ),
        may("title", Text),
        may("context", Text),
        may("citations", Object(&[may("enabled", Flag)])),
        cache(),
    ],
);

const RESULT: Block = (
    "tool_result",
    &[
        must("tool_use_id", Text),
        may("content", Either(&[Text, List(&Tagged("type", &[TEXT, IMAGE, DOCUMENT]))])),
        may("is_error", Flag),
        cache(),
    ],
);

const USE: Block = ("tool_use", &[must("id", Text), must("name", Text), must("input", Map(&Anything)), cache()]);

const THINKING: Block = ("thinking", &[must("thinking", Text), must("signature", Text)]);

const REDACTED: Block = ("redacted_thinking", &[must("data", Text)]);

static MESSAGE: Expected = Tagged(
    "role",
    &[
        ("user", &[must("content", Either(&[Text, List(&Tagged("type", &[TEXT, IMAGE, DOCUMENT, RESULT]))]))]),
        ("assistant", &[must("content", Either(&[Text, List(&Tagged("type", &[TEXT, THINKING, REDACTED, USE]))]))]),
        ("system", &[must("content", Either(&[Text, List(&Tagged("type", &[TEXT]))]))]),
    ],
);

static TOOL: Expected = Object(&[
    // Server tools, which have other types, are not supported.
    may("type", Word(&["custom"])),
    must("name", Text),
    may("description", Text),
    must("input_schema", Map(&Anything)),
    may("strict", Flag),
    may("eager_input_streaming", Flag),
    may("input_examples", List(&Map(&Anything))),
    cache(),
]);

static TOOL_CHOICE: Expected = Tagged(
    "type",
    &[
        ("auto", &[may("disable_parallel_tool_use", Flag)]),
        ("any", &[may("disable_parallel_tool_use", Flag)]),
        ("tool", &[must("name", Text), may("disable_parallel_tool_use", Flag)]),
        ("none", &[]),
    ],
);

static THINKING_CONFIG: Expected = Tagged(
    "type",
    &[
        ("enabled", &[must("budget_tokens", Whole(1024, i64::MAX)), may("display", Word(&["summarized", "omitted"]))]),
        ("disabled", &[]),
        ("adaptive", &[may("display", Word(&["summarized", "omitted"]))]),
    ],
);

static OUTPUT_CONFIG: Expected = Object(&[
    may("effort", Word(&["low", "medium", "high", "xhigh", "max"])),
    may("format", Tagged("type", &[("json_schema", &[must("schema", Map(&Anything))])])),
]);

/// A Messages request.
pub(super) static REQUEST: Expected = Object(&[
    must("model", Text),
    must("max_tokens", Whole(1, i64::MAX)),
    must("messages", List(&MESSAGE)),
    cache(),
    may("container", Text),
    may("inference_geo", Text),
    may("metadata", Object(&[may("user_id", Text)])),
    may("output_config", Same(&OUTPUT_CONFIG)),
    may("service_tier", Word(&["auto", "standard_only"])),
    may("stop_sequences", List(&Text)),
    may("stream", Flag),
    may("system", Either(&[Text, List(&Tagged("type", &[TEXT]))])),
    may("temperature", Number(0.0, 1.0)),
    may("thinking", Same(&THINKING_CONFIG)),
    may("tool_choice", Same(&TOOL_CHOICE)),
    may("tools", List(&TOOL)),
    may("top_k", Whole(0, i64::MAX)),
    may("top_p", Number(0.0, 1.0)),
]);

/// A request for the count of a prompt's tokens.
pub(super) static COUNT: Expected = Object(&[
    must("model", Text),
    must("messages", List(&MESSAGE)),
    cache(),
    may("output_config", Same(&OUTPUT_CONFIG)),
    may("system", Either(&[Text, List(&Tagged("type", &[TEXT]))])),
    may("thinking", Same(&THINKING_CONFIG)),
    may("tool_choice", Same(&TOOL_CHOICE)),
    may("tools", List(&TOOL)),
]);
