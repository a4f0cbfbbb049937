use super::*;

fn read(body: &str) -> Requested {
    Requested::read(&Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn error(body: impl AsRef<[u8]>) -> Unreadable {
    Requested::read(&Bytes::copy_from_slice(body.as_ref())).unwrap_err()
}

#[test]
fn what_matters_is_found_wherever_it_stands() {
    let body = r#" {"messages":[{"model":"no"}],"n":3,"stream" : true , "model" :  "a/b:c" }"#;
    let requested = read(body);
    assert_eq!(&*requested.model, "a/b:c");
    assert_eq!(&body[requested.model_at.clone()], r#""a/b:c""#);
    assert_eq!((requested.stream, requested.choices), (true, 3));
    assert_eq!(requested.stream_options.at, None);
}

#[test]
fn names_and_keys_are_unescaped() {
    let requested = read(r#"{"m\u006fdel":"caf\u00e9 \"x\"","str\u0065am":true}"#);
    assert_eq!(&*requested.model, "café \"x\"");
    assert!(requested.stream);
}

#[test]
fn rejects_a_stream_that_is_no_boolean() {
    for value in ["false", "null"] {
        assert!(!read(&format!(r#"{{"model":"m","stream":{value}}}"#)).stream, "{value}");
    }
    for value in ["1", "0", "\"true\"", "\"\"", "[true]", "{}"] {
        assert_eq!(error(format!(r#"{{"model":"m","stream":{value}}}"#)), Unreadable::BadStream, "{value}");
    }
}

#[test]
fn rejects_keys_that_could_be_taken_for_others() {
    let keys = [
        ("Model", "model"),
        ("MODEL", "model"),
        ("\\u004dodel", "model"),
        ("ſtream", "stream"),
        ("\\u017fTREAM", "stream"),
        ("stream_optionſ", "stream_options"),
        ("\u{fb06}ream", "stream"),
        ("N", "n"),
        ("meſſages", "messages"),
        ("meßages", "messages"),
        ("me\u{1e9e}ages", "messages"),
        ("\u{131}nput", "input"),
        ("\u{130}nput", "input"),
        ("toolſ", "tools"),
        ("Tools", "tools"),
    ];
    for (key, known) in keys {
        let error = error(format!(r#"{{"model":"m","{key}":true}}"#));
        assert!(matches!(error, Unreadable::AmbiguousKey { known: k, .. } if k == known), "{key}: {error:?}");
    }
    for key in ["modeł", "models", "mode", "nn", "User", "ñ", "streams", "日本語", "x"] {
        assert!(Requested::read(&Bytes::from(format!(r#"{{"model":"m","{key}":true}}"#))).is_ok(), "{key}");
    }
    assert!(Requested::read(&Bytes::from(r#"{"model":"m","x":{"Model":1}}"#)).is_ok(), "at the top level only");
}

#[test]
fn rejects_more_keys_than_any_api_knows() {
    let body = |n: usize| (0..n).map(|i| format!(r#""k{i}":0,"#)).collect::<String>();
    assert!(Requested::read(&format!(r#"{{{}"model":"m"}}"#, body(4095)).into()).is_ok());
    assert_eq!(error(format!(r#"{{{}"model":"m"}}"#, body(4096))), Unreadable::TooManyKeys);
}

#[test]
fn a_number_of_answers_that_is_none_counts_as_one() {
    for (value, n) in [("2", 2), ("2.0", 2), ("null", 1), ("-1", 1), ("1e400", 1), ("\"3\"", 1), ("4294967296", 1)] {
        assert_eq!(read(&format!(r#"{{"model":"m","n":{value}}}"#)).choices, n, "{value}");
    }
}

#[test]
fn each_prompt_of_several_has_answers_of_its_own() {
    for (prompt, n) in [("\"a\"", 2), ("[\"a\",\"b\",\"c\"]", 6), ("[1,2,3]", 2), ("[[1],[2]]", 4), ("[]", 2)] {
        assert_eq!(read(&format!(r#"{{"model":"m","n":2,"prompt":{prompt}}}"#)).choices, n, "{prompt}");
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_after_unescaping() {
    assert_eq!(error(r#"{"model":"a","model":"b"}"#), Unreadable::DuplicateKey("model".into()));
    assert_eq!(error(r#"{"model":"a","mod\u0065l":"b"}"#), Unreadable::DuplicateKey("model".into()));
    assert_eq!(error(r#"{"model":"a","x":1,"x":1}"#), Unreadable::DuplicateKey("x".into()));
    assert!(Requested::read(&Bytes::from(r#"{"model":"a","y":{"x":1,"x":1}}"#)).is_ok(), "at the top level only");
    let many: String = (0..100).map(|i| format!(r#""k{i}":0,"#)).collect();
    assert_eq!(error(format!(r#"{{{many}"model":"a","k77":0}}"#)), Unreadable::DuplicateKey("k77".into()));
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", " ", "[]", "\"model\"", "null", "1", "{", r#"{"model":"m"} x"#, r#"{"model":"m",}"#, "{]"] {
        assert!(matches!(error(body), Unreadable::NotAnObject(_)), "{body}");
    }
    assert!(matches!(error(b"\xef\xbb\xbf{\"model\":\"m\"}"), Unreadable::NotAnObject(_)));
    assert!(matches!(error(b"{\"model\":\"m\",\"x\":\"\xff\"}"), Unreadable::NotAnObject(_)));
    assert!(matches!(error(r#"{"model":"m","\ud800":1}"#), Unreadable::NotAnObject(_)));
}

#[test]
fn a_model_must_be_a_name() {
    assert_eq!(error("{}"), Unreadable::NoModel);
    for value in ["null", "1", "\"\"", "[\"m\"]", r#""\ud800""#] {
        assert_eq!(error(format!(r#"{{"model":{value}}}"#)), Unreadable::BadModel, "{value}");
    }
}

#[test]
fn deep_nesting_and_huge_numbers_pass() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(&*read(&format!(r#"{{"x":{deep},"z":{deep},"y":1e400,"model":"m"}}"#)).model, "m");
    assert!(matches!(error(deep), Unreadable::NotAnObject(_)));
}

#[test]
fn a_new_name_is_escaped_and_the_same_name_copies_nothing() {
    let body = Bytes::from_static(br#"{"model":"m","x":1}"#);
    let requested = Requested::read(&body).unwrap();
    assert_eq!(requested.with_model(&body, "a\"b\\"), r#"{"model":"a\"b\\","x":1}"#);
    assert_eq!(requested.with_model(&body, "m").as_ptr(), body.as_ptr());
}

#[test]
fn usage_is_asked_for_whatever_the_client_wrote() {
    for (options, expected) in [
        ("null", r#"{"include_usage":true}"#),
        ("{}", r#"{"include_usage":true}"#),
        ("{ }", r#"{"include_usage":true}"#),
        (r#"{"a":1}"#, r#"{"include_usage":true,"a":1}"#),
        (r#"{"include_usage":false,"a":1}"#, r#"{"include_usage":true,"a":1}"#),
        (r#"{"a":1,"include_usage": null}"#, r#"{"a":1,"include_usage": true}"#),
        (r#"{"include_usage":true}"#, r#"{"include_usage":true}"#),
        ("[1]", "[1]"),
    ] {
        let body = Bytes::from(format!(r#"{{"stream_options":{options},"model":"m"}}"#));
        let requested = Requested::read(&body).unwrap();
        assert_eq!(requested.stream_options.include_usage, options == expected && options != "[1]");
        let with_usage = requested.with_usage(&body, "m");
        assert_eq!(with_usage, format!(r#"{{"stream_options":{expected},"model":"m"}}"#));
        let body = Bytes::from(format!(r#"{{"model":"m","stream_options":{options}}}"#));
        let with_usage = Requested::read(&body).unwrap().with_usage(&body, "longer");
        assert_eq!(with_usage, format!(r#"{{"model":"longer","stream_options":{expected}}}"#));
    }
}

#[test]
fn edits_a_replaced_body_where_its_own_members_are() {
    let requested = read(r#"{"model":"m","stream_options":{}}"#);
    let replaced = Bytes::from_static(br#"{"user":"u","model":"m"}"#);
    assert_eq!(requested.with_model(&replaced, "n"), r#"{"user":"u","model":"n"}"#);
    let usage = r#"{"user":"u","model":"n","stream_options":{"include_usage":true}}"#;
    assert_eq!(requested.with_usage(&replaced, "n"), usage);
    assert_eq!(requested.with_model(&Bytes::from_static(b"{}"), "n"), "{}");
}

#[test]
fn reads_a_replaced_body_again() {
    let mut request = Request::post("/v1/embeddings").body(Buffered::from(r#"{"model":"m"}"#)).unwrap();
    assert_eq!(Requested::of(&mut request), Err(MissingLayer("InspectLayer")));
    let requested = Requested::read(request.body().bytes()).unwrap().with_path("/v1/embeddings");
    request.extensions_mut().insert(requested.clone());
    assert_eq!(Requested::of(&mut request), Ok(&requested));
    // The same length, in the place of the other.
    *request.body_mut() = Buffered::from(r#"{"model":"n"}"#);
    let read = Requested::of(&mut request).unwrap();
    assert_eq!((&*read.model, read.endpoint), ("n", Some(Endpoint::Embeddings)));
    *request.body_mut() = Buffered::from("[]");
    assert_eq!(Requested::of(&mut request), Err(MissingLayer("InspectLayer")));
}
