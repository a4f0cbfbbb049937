//! The published schema of `generateContent` requests, only with names in camel case. The provider also
//! accepts snake case.

use crate::check::Expected::{Anything, Either, Flag, List, Map, Number, Object, Same, Text, Whole, Word};
use crate::check::{Expected, may, must};

/// Google's schema format, a subset of OpenAPI's.
static SCHEMA: Expected = Object(&[
    must("type", Word(&["TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"])),
    may("format", Text),
    may("title", Text),
    may("description", Text),
    may("nullable", Flag),
    may("enum", List(&Text)),
    may("maxItems", Same(&INT64)),
    may("minItems", Same(&INT64)),
    may("properties", Map(&SCHEMA)),
    may("required", List(&Text)),
    may("minProperties", Same(&INT64)),
    may("maxProperties", Same(&INT64)),
    may("minLength", Same(&INT64)),
    may("maxLength", Same(&INT64)),
    may("pattern", Text),
    may("example", Anything),
    may("anyOf", List(&SCHEMA)),
    may("propertyOrdering", List(&Text)),
    may("default", Anything),
    may("items", Same(&SCHEMA)),
    may("minimum", Number(f64::MIN, f64::MAX)),
    may("maximum", Number(f64::MIN, f64::MAX)),
]);

/// A 64-bit number, which Google's JSON writes as a string. A JSON number is also accepted.
static INT64: Expected = Either(&[Text, Whole(0, i64::MAX)]);

static BLOB: Expected = Object(&[must("mimeType", Text), must("data", Text), may("displayName", Text)]);

static FILE: Expected = Object(&[may("mimeType", Text), must("fileUri", Text), may("displayName", Text)]);

static CALL: Expected = Object(&[may("id", Text), must("name", Text), may("args", Map(&Anything))]);

static RESPONSE: Expected = Object(&[
    may("id", Text),
    must("name", Text),
    must("response", Map(&Anything)),
    may("willContinue", Flag),
    may("scheduling", Word(&["SILENT", "WHEN_IDLE", "INTERRUPT"])),
    may("parts", List(&Object(&[may("inlineData", Same(&BLOB)), may("fileData", Same(&FILE))]))),
]);

static PART: Expected = Object(&[
    may("text", Text),
    may("inlineData", Same(&BLOB)),
    may("fileData", Same(&FILE)),
    may("functionCall", Same(&CALL)),
    may("functionResponse", Same(&RESPONSE)),
    may("executableCode", Anything),
    may("codeExecutionResult", Anything),
    may("thought", Flag),
    may("thoughtSignature", Text),
    may("videoMetadata", Anything),
    may("mediaResolution", Anything),
    may("partMetadata", Map(&Anything)),
]);

static CONTENT: Expected = Object(&[must("parts", List(&PART)), may("role", Word(&["user", "model"]))]);

static DECLARATION: Expected = Object(&[
    must("name", Text),
    // The reference requires this field, but the provider accepts requests without it.
    may("description", Text),
    may("behavior", Word(&["BLOCKING", "NON_BLOCKING"])),
    may("parameters", Same(&SCHEMA)),
    may("parametersJsonSchema", Map(&Anything)),
    may("response", Same(&SCHEMA)),
    may("responseJsonSchema", Map(&Anything)),
]);

static TOOL: Expected = Object(&[
    may("functionDeclarations", List(&DECLARATION)),
    may("googleSearch", Anything),
    may("googleSearchRetrieval", Anything),
    may("codeExecution", Anything),
    may("computerUse", Anything),
    may("urlContext", Anything),
    may("fileSearch", Anything),
    may("googleMaps", Anything),
]);

static TOOL_CONFIG: Expected = Object(&[
    may(
        "functionCallingConfig",
        Object(&[
            may("mode", Word(&["AUTO", "ANY", "NONE", "VALIDATED"])),
            may("allowedFunctionNames", List(&Text)),
            may("streamFunctionCallArguments", Flag),
        ]),
    ),
    may("retrievalConfig", Anything),
]);

const INT32: Expected = Whole(i32::MIN as i64, i32::MAX as i64);

static GENERATION_CONFIG: Expected = Object(&[
    may("stopSequences", List(&Text)),
    may("responseMimeType", Word(&["text/plain", "application/json", "text/x.enum"])),
    may("responseSchema", Same(&SCHEMA)),
    may("responseJsonSchema", Map(&Anything)),
    may("responseModalities", List(&Word(&["TEXT", "IMAGE", "AUDIO"]))),
    may("candidateCount", Whole(1, 8)),
    may("maxOutputTokens", Whole(1, i32::MAX as i64)),
    may("temperature", Number(0.0, 2.0)),
    may("topP", Number(0.0, 1.0)),
    may("topK", Whole(1, i32::MAX as i64)),
    may("seed", INT32),
    may("presencePenalty", Number(-2.0, 2.0)),
    may("frequencyPenalty", Number(-2.0, 2.0)),
    may("responseLogprobs", Flag),
    may("logprobs", Whole(0, 20)),
    may("enableEnhancedCivicAnswers", Flag),
    may("speechConfig", Anything),
    may(
        "thinkingConfig",
        Object(&[
            may("includeThoughts", Flag),
            may("thinkingBudget", Whole(-1, i32::MAX as i64)),
            may("thinkingLevel", Word(&["MINIMAL", "LOW", "MEDIUM", "HIGH", "minimal", "low", "medium", "high"])),
        ]),
    ),
    may("imageConfig", Anything),
    may("mediaResolution", Text),
]);

/// A `generateContent` request.
pub(super) static REQUEST: Expected = Object(&[
    must("contents", List(&CONTENT)),
    may("model", Text),
    may("tools", List(&TOOL)),
    may("toolConfig", Same(&TOOL_CONFIG)),
    may("safetySettings", List(&Object(&[must("category", Text), must("threshold", Text), may("method", Text)]))),
    may("systemInstruction", Same(&CONTENT)),
    may("generationConfig", Same(&GENERATION_CONFIG)),
    may("cachedContent", Text),
    may("serviceTier", Text),
    may("store", Flag),
]);
