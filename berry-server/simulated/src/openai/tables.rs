//! The published schema of chat requests.

use crate::check::Expected::{Anything, Either, Flag, List, Map, Number, Object, Same, Tagged, Text, Whole, Word};
use crate::check::{Expected, Field, may, must};

static FUNCTION: Expected =
    Object(&[must("name", Text), may("description", Text), may("parameters", Map(&Anything)), may("strict", Flag)]);

static TOOL: Expected = Tagged(
    "type",
    &[
        ("function", &[must("function", Same(&FUNCTION))]),
        ("custom", &[must("custom", Object(&[must("name", Text), may("description", Text), may("format", Anything)]))]),
    ],
);

static NAME: Expected = Object(&[must("name", Text)]);

static TOOL_CHOICE: Expected = Either(&[
    Word(&["none", "auto", "required"]),
    Tagged(
        "type",
        &[
            ("function", &[must("function", Same(&NAME))]),
            ("custom", &[must("custom", Same(&NAME))]),
            ("allowed_tools", &[must("allowed_tools", Anything)]),
        ],
    ),
]);

const TEXT_PART: (&str, &[Field]) = ("text", &[must("text", Text)]);

static TEXTS: Expected = Either(&[Text, List(&Tagged("type", &[TEXT_PART]))]);

static USER_CONTENT: Expected = Either(&[
    Text,
    List(&Tagged(
        "type",
        &[
            TEXT_PART,
            (
                "image_url",
                &[must(
                    "image_url",
                    Object(&[must("url", Text), may("detail", Word(&["auto", "low", "high", "original"]))]),
                )],
            ),
            (
                "input_audio",
                &[must("input_audio", Object(&[must("data", Text), must("format", Word(&["wav", "mp3"]))]))],
            ),
            ("file", &[must("file", Object(&[may("file_data", Text), may("file_id", Text), may("filename", Text)]))]),
        ],
    )),
]);

static ASSISTANT_CONTENT: Expected =
    Either(&[Text, List(&Tagged("type", &[TEXT_PART, ("refusal", &[must("refusal", Text)])]))]);

static CALL: Expected = Tagged(
    "type",
    &[
        (
            "function",
            &[
                must("id", Text),
                must("function", Object(&[must("name", Text), must("arguments", Text)])),
                // An extension of other providers, which clients send back with the messages.
                may("extra_content", Anything),
            ],
        ),
        ("custom", &[must("id", Text), must("custom", Object(&[must("name", Text), must("input", Text)]))]),
    ],
);

static MESSAGE: Expected = Tagged(
    "role",
    &[
        ("system", &[must("content", Same(&TEXTS)), may("name", Text)]),
        ("developer", &[must("content", Same(&TEXTS)), may("name", Text)]),
        ("user", &[must("content", Same(&USER_CONTENT)), may("name", Text)]),
        (
            "assistant",
            &[
                may("content", Same(&ASSISTANT_CONTENT)),
                may("refusal", Text),
                may("name", Text),
                may("audio", Object(&[must("id", Text)])),
                may("tool_calls", List(&CALL)),
                may("function_call", Object(&[must("name", Text), must("arguments", Text)])),
                // Fields of responses that clients send back.
                may("annotations", List(&Anything)),
                may("reasoning_content", Text),
            ],
        ),
        ("tool", &[must("content", Same(&TEXTS)), must("tool_call_id", Text)]),
        ("function", &[must("content", Text), must("name", Text)]),
    ],
);

static RESPONSE_FORMAT: Expected = Tagged(
    "type",
    &[
        ("text", &[]),
        ("json_object", &[]),
        (
            "json_schema",
            &[must(
                "json_schema",
                Object(&[
                    must("name", Text),
                    may("description", Text),
                    may("schema", Map(&Anything)),
                    may("strict", Flag),
                ]),
            )],
        ),
    ],
);

/// A chat request.
pub(super) static CHAT: Expected = Object(&[
    must("messages", List(&MESSAGE)),
    must("model", Text),
    may("audio", Anything),
    may("frequency_penalty", Number(-2.0, 2.0)),
    may("function_call", Anything),
    may("functions", List(&FUNCTION)),
    may("logit_bias", Map(&Number(-100.0, 100.0))),
    may("logprobs", Flag),
    may("max_completion_tokens", Whole(1, i64::MAX)),
    may("max_tokens", Whole(1, i64::MAX)),
    may("metadata", Map(&Text)),
    may("modalities", List(&Word(&["text", "audio"]))),
    may("n", Whole(1, 128)),
    may("parallel_tool_calls", Flag),
    may("prediction", Tagged("type", &[("content", &[must("content", Same(&TEXTS))])])),
    may("presence_penalty", Number(-2.0, 2.0)),
    may("prompt_cache_key", Text),
    may("prompt_cache_retention", Word(&["in-memory", "in_memory", "24h"])),
    may("reasoning_effort", Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    may("response_format", Same(&RESPONSE_FORMAT)),
    may("safety_identifier", Text),
    may("seed", Whole(i64::MIN, i64::MAX)),
    may("service_tier", Word(&["auto", "default", "flex", "scale", "priority"])),
    may("stop", Either(&[Text, List(&Text)])),
    may("store", Flag),
    may("stream", Flag),
    may("stream_options", Object(&[may("include_usage", Flag), may("include_obfuscation", Flag)])),
    may("temperature", Number(0.0, 2.0)),
    may("tool_choice", Same(&TOOL_CHOICE)),
    may("tools", List(&TOOL)),
    may("top_logprobs", Whole(0, 20)),
    may("top_p", Number(0.0, 1.0)),
    may("user", Text),
    may("verbosity", Word(&["low", "medium", "high"])),
    may("web_search_options", Anything),
]);
