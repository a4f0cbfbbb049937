//! Multipart forms: the parts `model` and `stream`, found wherever they stand.
//!
//! The reader is stricter than RFC 7578, because a backend that read a form in another way would be asked for a model
//! that permission was not checked for. It rejects what parsers are known to disagree about: a boundary that does not
//! start a line, two parts or two parameters of one name, `name*`, and an encoded `model` part.

use std::{ops::Range, sync::Arc};

use super::members::{KNOWN, taken_for};

/// The longest boundary that RFC 2046 allows, in bytes.
const MAX_BOUNDARY_BYTES: usize = 70;
/// The most parts of a form.
const MAX_PARTS: usize = 1024;
/// The most bytes of one part's headers.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// The longest model name, in bytes.
const MAX_MODEL_BYTES: usize = 1024;

/// The boundary of a multipart form, from its `content-type`.
pub(super) type Boundary = Arc<[u8]>;

/// The facts of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) model: String,
    /// The range of the model's name in the body.
    pub(super) model_at: Range<usize>,
    pub(super) stream: bool,
}

/// Why a form is not a valid model request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormError {
    /// It is not a valid form, for this reason.
    Invalid(&'static str),
    /// A part occurs twice.
    Duplicate(&'static str),
    /// A part's name differs from one that matters only in case, by Unicode folding, or by an escape.
    Ambiguous { name: String, known: &'static str },
    /// There is no part `model`.
    NoModel,
    /// The part `model` is not a name.
    BadModel,
    /// The part `stream` is neither `true` nor `false`.
    BadStream,
}

/// Returns the boundary if the media type is `multipart/form-data`.
pub(super) fn boundary(content_type: &str) -> Option<Result<Boundary, FormError>> {
    let (media, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut boundaries = Params(params.as_bytes()).filter(|param| param.name.eq_ignore_ascii_case(b"boundary"));
    let boundary = boundaries.next().and_then(|param| param.value);
    let is_only = boundaries.next().is_none();
    let valid = boundary.filter(|value| {
        is_only
            && (1..=MAX_BOUNDARY_BYTES).contains(&value.len())
            && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
            && value.last() != Some(&b' ')
    });
    Some(valid.map(Into::into).ok_or(FormError::Invalid("its content type has no valid boundary")))
}

/// Reads a form.
pub(super) fn read(body: &[u8], boundary: &[u8]) -> Result<Form, FormError> {
    const UNFINISHED: FormError = FormError::Invalid("it ends before its last boundary");
    let delimiter = [b"--", boundary].concat();
    let finder = memchr::memmem::Finder::new(&delimiter);
    let (mut model, mut stream) = (None, None);
    let mut position = finder.find(body).ok_or(UNFINISHED)?;
    starts_line(body, position)?;
    for _ in 0..MAX_PARTS {
        position += delimiter.len();
        let rest = &body[position..];
        if rest.starts_with(b"--") {
            // The epilogue is ignored by every parser; a boundary in it is not.
            return match (finder.find(rest), model) {
                (Some(_), _) => Err(FormError::Invalid("it has a part after its last boundary")),
                (None, Some((model, model_at))) => Ok(Form { model, model_at, stream: stream.unwrap_or(false) }),
                (None, None) => Err(FormError::NoModel),
            };
        }
        if !rest.starts_with(b"\r\n") {
            return Err(FormError::Invalid("a boundary is followed by other text"));
        }
        position += 2;
        let end = position + finder.find(&body[position..]).ok_or(UNFINISHED)?;
        starts_line(body, end)?;
        // Without the line break that belongs to the boundary.
        let part = position..end - 2;
        let (headers, content) = split_headers(body, part)?;
        let disposition = Disposition::read(headers)?;
        if let Some(known) = disposition.taken_for() {
            let name = String::from_utf8_lossy(disposition.name).into_owned();
            return Err(FormError::Ambiguous { name, known });
        }
        for (known, slot) in [("model", model.is_some()), ("stream", stream.is_some())] {
            if disposition.name != known.as_bytes() {
                continue;
            }
            if slot {
                return Err(FormError::Duplicate(known));
            }
            let text = text(&body[content.clone()], &disposition);
            if known == "model" {
                let name = text.filter(|name| !name.is_empty() && name.len() <= MAX_MODEL_BYTES);
                let name = name.filter(|name| !name.chars().any(char::is_control)).ok_or(FormError::BadModel)?;
                model = Some((name.to_owned(), content.clone()));
            } else {
                stream = Some(match text {
                    Some("true" | "True") => true,
                    Some("false" | "False" | "") => false,
                    _ => return Err(FormError::BadStream),
                });
            }
        }
        position = end;
    }
    Err(FormError::Invalid("it has too many parts"))
}

/// The text of a part that is no file and has no encoding.
fn text<'a>(content: &'a [u8], disposition: &Disposition<'_>) -> Option<&'a str> {
    if disposition.is_file || disposition.is_encoded { None } else { str::from_utf8(content).ok() }
}

/// Checks that a boundary stands at the start of a line.
fn starts_line(body: &[u8], at: usize) -> Result<(), FormError> {
    if at == 0 || body[..at].ends_with(b"\r\n") {
        return Ok(());
    }
    Err(FormError::Invalid("its boundary occurs within a line"))
}

/// Splits a part into headers and content.
fn split_headers(body: &[u8], part: Range<usize>) -> Result<(&[u8], Range<usize>), FormError> {
    const END: &[u8] = b"\r\n\r\n";
    let bytes = body.get(part.clone()).unwrap_or_default();
    let window = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
    let end = memchr::memmem::find(window, END).ok_or(FormError::Invalid("a part has no end of its headers"))?;
    Ok((&bytes[..end], part.start + end + END.len()..part.end))
}

/// The facts of a part's headers.
#[derive(Debug)]
struct Disposition<'a> {
    name: &'a [u8],
    is_file: bool,
    is_encoded: bool,
}

impl<'a> Disposition<'a> {
    fn read(headers: &'a [u8]) -> Result<Self, FormError> {
        const INVALID: FormError = FormError::Invalid("a part has no valid `content-disposition`");
        let (mut found, mut is_encoded) = (None, false);
        for line in headers.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = line.iter().position(|byte| *byte == b':').ok_or(INVALID)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
                return Err(FormError::Invalid("a part has a folded or malformed header"));
            }
            if name.eq_ignore_ascii_case(b"content-disposition") && found.replace(value).is_some() {
                return Err(INVALID);
            }
            if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                is_encoded = ![&b"7bit"[..], b"8bit", b"binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
            }
        }
        let value: &[u8] = found.ok_or(INVALID)?;
        let params = value.iter().position(|byte| *byte == b';').ok_or(INVALID)?;
        let (mut name, mut is_file) = (None, false);
        for param in Params(&value[params + 1..]) {
            if param.name.eq_ignore_ascii_case(b"name*") {
                return Err(FormError::Invalid("a part has `name*`, which RFC 7578 forbids"));
            }
            if param.name.eq_ignore_ascii_case(b"filename") || param.name.eq_ignore_ascii_case(b"filename*") {
                is_file = true;
            }
            if param.name.eq_ignore_ascii_case(b"name") && name.replace(param.value.ok_or(INVALID)?).is_some() {
                return Err(INVALID);
            }
        }
        Ok(Self { name: name.ok_or(INVALID)?, is_file, is_encoded })
    }

    /// The known name that a backend could take the part's name for. Some parsers remove each
    /// backslash, some only before a quote or another backslash.
    fn taken_for(&self) -> Option<&'static str> {
        if !self.name.contains(&b'\\') {
            return taken_for(self.name);
        }
        let name: Vec<u8> = self.name.iter().copied().filter(|byte| *byte != b'\\').collect();
        KNOWN.into_iter().find(|known| name == known.as_bytes()).or_else(|| taken_for(&name))
    }
}

/// The parameters of a header value, without their quotes. Escapes stay as they are, so that a name with one matches
/// nothing.
struct Params<'a>(&'a [u8]);

#[derive(Debug)]
struct Param<'a> {
    name: &'a [u8],
    /// `None` if there is no value, or its quotes do not end.
    value: Option<&'a [u8]>,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let rest = self.0.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let name = rest[..end].trim_ascii();
        if rest.get(end) != Some(&b'=') {
            self.0 = rest.get(end + 1..).unwrap_or_default();
            return Some(Param { name, value: None });
        }
        let value = rest[end + 1..].trim_ascii_start();
        let (value, rest) = match value.strip_prefix(b"\"") {
            Some(quoted) => match closing_quote(quoted) {
                Some(close) => (Some(&quoted[..close]), &quoted[close + 1..]),
                None => (None, &[][..]),
            },
            None => {
                let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
                (Some(value[..end].trim_ascii()), &value[end..])
            }
        };
        let after = rest.iter().position(|byte| *byte == b';').map_or(rest.len(), |semicolon| semicolon + 1);
        self.0 = &rest[after..];
        Some(Param { name, value })
    }
}

fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    quoted.iter().position(|byte| {
        let closes = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(headers: &str, content: &str) -> String {
        format!("--X\r\n{headers}\r\n\r\n{content}\r\n")
    }

    fn field(name: &str, value: &str) -> String {
        part(&format!("Content-Disposition: form-data; name=\"{name}\""), value)
    }

    fn form(parts: &[String]) -> Result<Form, FormError> {
        read(format!("{}--X--\r\n", parts.concat()).as_bytes(), b"X")
    }

    fn file() -> String {
        part(
            "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
            "RIFF\r\n\r\n\n--",
        )
    }

    #[test]
    fn finds_the_model_wherever_it_stands() {
        for parts in [[field("model", "whisper"), file()], [file(), field("model", "whisper")]] {
            let body = format!("{}--X--", parts.concat());
            let found = read(body.as_bytes(), b"X").unwrap();
            assert_eq!((&*found.model, &body[found.model_at], found.stream), ("whisper", "whisper", false));
        }
        assert!(form(&[field("stream", "true"), field("model", "m")]).unwrap().stream);
        let with_preamble = format!("preamble\r\n{}--X--", field("model", "m"));
        assert_eq!(read(with_preamble.as_bytes(), b"X").unwrap().model, "m");
    }

    #[test]
    fn rejects_a_form_without_a_usable_model() {
        let named = |headers: &str, content: &str| form(&[part(headers, content)]);
        assert_eq!(form(&[file()]), Err(FormError::NoModel));
        assert_eq!(form(&[field("model", "")]), Err(FormError::BadModel));
        assert_eq!(form(&[field("model", "a\nb")]), Err(FormError::BadModel));
        assert_eq!(
            named("content-disposition: form-data; name=model; filename=x", "m"),
            Err(FormError::BadModel),
            "a file"
        );
        let encoded = "content-disposition: form-data; name=model\r\ncontent-transfer-encoding: base64";
        assert_eq!(named(encoded, "bQ=="), Err(FormError::BadModel));
        assert_eq!(form(&[field("model", "m"), field("stream", "yes")]), Err(FormError::BadStream));
    }

    #[test]
    fn rejects_what_parsers_disagree_about() {
        let model = || field("model", "m");
        assert_eq!(form(&[model(), field("model", "n")]), Err(FormError::Duplicate("model")));
        for (name, known) in
            [("Model", "model"), ("ſtream", "stream"), ("mod\\el", "model"), ("\\Model", "model"), ("N", "n")]
        {
            let ambiguous = FormError::Ambiguous { name: name.into(), known };
            assert_eq!(form(&[model(), field(name, "n")]), Err(ambiguous));
        }
        assert!(form(&[model(), field("c:\\x", "n"), field("n", "1")]).is_ok());
        for body in [
            format!("{}--X\r\ncontent-disposition: form-data; name*=utf-8''model\r\n\r\nn\r\n--X--", model()),
            format!("{}--X\r\ncontent-disposition: form-data; name=a; name=model\r\n\r\nn\r\n--X--", model()),
            // A lenient parser would see another part after a bare line feed.
            format!(
                "{}--X\r\ncontent-disposition: form-data; name=a\r\n\r\n\n--X\ncontent-disposition: form-data; name=model\n\nn\r\n--X--",
                model()
            ),
            format!("{}--X\r\n content-disposition: form-data; name=a\r\n\r\nn\r\n--X--", model()),
            format!("{}--X--\r\n{}", model(), field("model", "n")),
            format!("{}--X", model()),
            model(),
            "--X\r\n--X--".to_owned(),
            "--X\r\nno end".to_owned(),
            String::new(),
        ] {
            assert!(matches!(read(body.as_bytes(), b"X"), Err(FormError::Invalid(_))), "{body:?}");
        }
    }

    #[test]
    fn reads_the_boundary() {
        let of = |text: &str| {
            boundary(text).map(|found| found.ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        assert_eq!(of("application/json"), None);
        assert_eq!(of("multipart/form-data; boundary=a-b"), Some(Some("a-b".into())));
        assert_eq!(of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), Some(Some("a b".into())));
        for invalid in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a; boundary=b"]
        {
            assert_eq!(of(invalid), Some(None), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in prop::collection::vec(prop::sample::select(b"--X\r\n:;=\"\\ namedelstrcontent-disposition\0".to_vec()), 0..200)) {
            let _ = read(&body, b"X");
            let _ = read(&[b"--X\r\n", &body[..], b"\r\n--X--"].concat(), b"X");
        }

        #[test]
        fn model_is_where_it_says(model in "[a-z0-9/:._-]{1,40}", before in any::<Vec<u8>>(), after in any::<Vec<u8>>()) {
            prop_assume!(![&before, &after].iter().any(|data| data.windows(3).any(|at| at == b"--X")));
            let file = |data: &[u8]| [b"--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n", data, b"\r\n"].concat();
            let body = [file(&before), field("model", &model).into_bytes(), file(&after), b"--X--\r\n".to_vec()].concat();
            let found = read(&body, b"X").unwrap();
            prop_assert_eq!(&body[found.model_at], model.as_bytes());
            prop_assert_eq!(found.model, model);
        }
    }
}
