//! The published schema of Responses requests.

use crate::check::Expected::{Anything, Either, Flag, List, Map, Number, Object, Same, Tagged, Text, Whole, Word};
use crate::check::{Expected, Field, may, must};

type Entry = (&'static str, &'static [Field]);

const STATUS: Expected = Word(&["in_progress", "completed", "incomplete"]);
const CALLERS: Field = may("allowed_callers", List(&Word(&["direct", "programmatic"])));

const FUNCTION: Entry = (
    "function",
    &[
        must("name", Text),
        may("description", Text),
        may("parameters", Map(&Anything)),
        may("output_schema", Map(&Anything)),
        may("strict", Flag),
        may("defer_loading", Flag),
        CALLERS,
    ],
);

const CUSTOM: Entry = (
    "custom",
    &[
        must("name", Text),
        may("description", Text),
        may(
            "format",
            Tagged(
                "type",
                &[("text", &[]), ("grammar", &[must("syntax", Word(&["lark", "regex"])), must("definition", Text)])],
            ),
        ),
        may("defer_loading", Flag),
        CALLERS,
    ],
);

static TOOL: Expected = Tagged(
    "type",
    &[
        FUNCTION,
        CUSTOM,
        (
            "namespace",
            &[must("name", Text), must("description", Text), must("tools", List(&Tagged("type", &[FUNCTION, CUSTOM])))],
        ),
        (
            "web_search",
            &[
                may("filters", Anything),
                may("search_context_size", Word(&["low", "medium", "high"])),
                may("user_location", Anything),
                may("external_web_access", Flag),
                may("search_content_types", List(&Text)),
            ],
        ),
        ("web_search_preview", &[may("search_context_size", Text), may("user_location", Anything)]),
        (
            "file_search",
            &[
                must("vector_store_ids", List(&Text)),
                may("filters", Anything),
                may("max_num_results", Whole(1, 50)),
                may("ranking_options", Anything),
            ],
        ),
        ("code_interpreter", &[must("container", Anything)]),
        (
            "image_generation",
            &[
                may("model", Text),
                may("output_format", Word(&["png", "webp", "jpeg"])),
                may("quality", Text),
                may("size", Text),
            ],
        ),
        ("computer", &[]),
        (
            "mcp",
            &[
                must("server_label", Text),
                may("server_url", Text),
                may("connector_id", Text),
                may("authorization", Text),
                may("headers", Map(&Text)),
                may("require_approval", Anything),
                may("allowed_tools", Anything),
                may("server_description", Text),
                may("defer_loading", Flag),
            ],
        ),
        (
            "tool_search",
            &[may("execution", Word(&["server", "client"])), may("description", Text), may("parameters", Anything)],
        ),
        ("local_shell", &[]),
        ("shell", &[may("environment", Anything)]),
        ("apply_patch", &[]),
    ],
);

static TOOL_CHOICE: Expected = Either(&[
    Word(&["none", "auto", "required"]),
    Tagged(
        "type",
        &[
            ("function", &[must("name", Text)]),
            ("custom", &[must("name", Text)]),
            ("allowed_tools", &[must("mode", Word(&["auto", "required"])), must("tools", List(&Map(&Anything)))]),
            ("mcp", &[must("server_label", Text), may("name", Text)]),
            ("web_search", &[]),
            ("web_search_preview", &[]),
            ("file_search", &[]),
            ("code_interpreter", &[]),
            ("image_generation", &[]),
            ("computer", &[]),
            ("shell", &[]),
            ("apply_patch", &[]),
        ],
    ),
]);

const DETAIL: Field = may("detail", Word(&["low", "high", "auto", "original"]));
const INPUT_TEXT: Entry = ("input_text", &[must("text", Text)]);
const INPUT_IMAGE: Entry = ("input_image", &[may("image_url", Text), may("file_id", Text), DETAIL]);
const INPUT_FILE: Entry = (
    "input_file",
    &[may("file_data", Text), may("file_id", Text), may("file_url", Text), may("filename", Text), DETAIL],
);

/// The content of messages except the assistant's, and of tool outputs.
pub(super) static INPUT_CONTENT: Expected =
    Either(&[Text, List(&Tagged("type", &[INPUT_TEXT, INPUT_IMAGE, INPUT_FILE]))]);

/// The content of assistant messages.
pub(super) static OUTPUT_CONTENT: Expected = Either(&[
    Text,
    List(&Tagged(
        "type",
        &[
            (
                "output_text",
                &[must("text", Text), may("annotations", List(&Anything)), may("logprobs", List(&Anything))],
            ),
            ("refusal", &[must("refusal", Text)]),
        ],
    )),
]);

static ITEM: Expected = Tagged(
    "type",
    &[
        (
            "message",
            &[
                must("role", Word(&["user", "assistant", "system", "developer"])),
                must("content", Anything),
                may("id", Text),
                may("status", STATUS),
                may("phase", Word(&["commentary", "final_answer"])),
            ],
        ),
        (
            "function_call",
            &[
                must("call_id", Text),
                must("name", Text),
                must("arguments", Text),
                may("namespace", Text),
                may("id", Text),
                may("status", STATUS),
                may("caller", Anything),
            ],
        ),
        (
            "function_call_output",
            &[
                must("call_id", Text),
                must("output", Same(&INPUT_CONTENT)),
                may("id", Text),
                may("status", STATUS),
                may("name", Text),
                may("namespace", Text),
                may("caller", Anything),
            ],
        ),
        (
            "custom_tool_call",
            &[
                must("call_id", Text),
                must("name", Text),
                must("input", Text),
                may("namespace", Text),
                may("id", Text),
                may("status", STATUS),
                may("caller", Anything),
            ],
        ),
        (
            "custom_tool_call_output",
            &[
                must("call_id", Text),
                must("output", Same(&INPUT_CONTENT)),
                may("id", Text),
                may("status", STATUS),
                may("name", Text),
                may("caller", Anything),
            ],
        ),
        (
            "reasoning",
            &[
                must("summary", List(&Tagged("type", &[("summary_text", &[must("text", Text)])]))),
                may("id", Text),
                may("content", List(&Tagged("type", &[("reasoning_text", &[must("text", Text)])]))),
                may("encrypted_content", Text),
                may("status", STATUS),
            ],
        ),
        ("item_reference", &[must("id", Text)]),
        ("additional_tools", &[must("role", Word(&["developer"])), must("tools", List(&TOOL)), may("id", Text)]),
        ("web_search_call", &[must("id", Text), may("status", Text), may("action", Anything)]),
    ],
);

static FORMAT: Expected = Tagged(
    "type",
    &[
        ("text", &[]),
        ("json_object", &[]),
        (
            "json_schema",
            &[must("name", Text), must("schema", Map(&Anything)), may("description", Text), may("strict", Flag)],
        ),
    ],
);

static INPUT: Expected = Either(&[Text, List(&ITEM)]);
static TEXT: Expected = Object(&[may("format", Same(&FORMAT)), may("verbosity", Word(&["low", "medium", "high"]))]);
static CONVERSATION: Expected = Either(&[Text, Object(&[must("id", Text)])]);
static REASONING: Expected = Object(&[
    may("effort", Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    may("summary", Word(&["auto", "concise", "detailed"])),
    may("generate_summary", Word(&["auto", "concise", "detailed"])),
    may("context", Word(&["auto", "current_turn", "all_turns"])),
    may("mode", Text),
]);

/// A request for the count of a prompt's tokens.
pub(super) static INPUT_TOKENS: Expected = Object(&[
    must("model", Text),
    may("conversation", Same(&CONVERSATION)),
    may("input", Same(&INPUT)),
    may("instructions", Text),
    may("parallel_tool_calls", Flag),
    may("personality", Text),
    may("previous_response_id", Text),
    may("reasoning", Same(&REASONING)),
    may("text", Same(&TEXT)),
    may("tool_choice", Same(&TOOL_CHOICE)),
    may("tools", List(&TOOL)),
    may("truncation", Word(&["auto", "disabled"])),
]);

/// A Responses request.
pub(super) static REQUEST: Expected = Object(&[
    must("model", Text),
    may("background", Flag),
    // Codex sends it, and the provider takes it.
    may("client_metadata", Map(&Anything)),
    may("context_management", List(&Map(&Anything))),
    may("conversation", Same(&CONVERSATION)),
    may(
        "include",
        List(&Word(&[
            "file_search_call.results",
            "web_search_call.results",
            "web_search_call.action.sources",
            "message.input_image.image_url",
            "computer_call_output.output.image_url",
            "code_interpreter_call.outputs",
            "reasoning.encrypted_content",
            "message.output_text.logprobs",
        ])),
    ),
    may("input", Same(&INPUT)),
    may("instructions", Text),
    may("max_output_tokens", Whole(16, i64::MAX)),
    may("max_tool_calls", Whole(1, i64::MAX)),
    may("metadata", Map(&Text)),
    may("parallel_tool_calls", Flag),
    may("previous_response_id", Text),
    may("prompt", Anything),
    may("prompt_cache_key", Text),
    may("prompt_cache_options", Map(&Anything)),
    may("prompt_cache_retention", Word(&["in-memory", "in_memory", "24h"])),
    may("reasoning", Same(&REASONING)),
    may("safety_identifier", Text),
    may("service_tier", Word(&["auto", "default", "flex", "scale", "priority"])),
    may("store", Flag),
    may("stream", Flag),
    may("stream_options", Object(&[may("include_obfuscation", Flag)])),
    may("temperature", Number(0.0, 2.0)),
    may("text", Same(&TEXT)),
    may("tool_choice", Same(&TOOL_CHOICE)),
    may("tools", List(&TOOL)),
    may("top_logprobs", Whole(0, 20)),
    may("top_p", Number(0.0, 1.0)),
    may("truncation", Word(&["auto", "disabled"])),
    may("user", Text),
]);
