//! Checks JSON against a provider's published schema, written as tables. A violation has the path of the field; the dialect
//! words it.

use serde_json::Value;
use std::fmt::Write;

/// The type that a value must have.
#[derive(Debug)]
pub(super) enum Expected {
    Anything,
    Text,
    Word(&'static [&'static str]),
    Flag,
    /// A number within these bounds, inclusive.
    Number(f64, f64),
    /// An integer within these bounds, inclusive.
    Whole(i64, i64),
    /// An object with arbitrary keys.
    Map(&'static Expected),
    List(&'static Expected),
    Object(&'static [Field]),
    /// An object whose fields depend on the value of one of them.
    Tagged(&'static str, &'static [(&'static str, &'static [Field])]),
    /// The first of these that accepts the JSON type of the value.
    Either(&'static [Expected]),
    Same(&'static Expected),
}

/// A field of an object.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    is: Expected,
    required: bool,
}

/// Returns a required field.
pub(super) const fn must(name: &'static str, is: Expected) -> Field {
    Field { name, is, required: true }
}

/// Returns an optional field.
pub(super) const fn may(name: &'static str, is: Expected) -> Field {
    Field { name, is, required: false }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A violation of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    Unknown,
    Missing,
    /// The value is not of the expected type.
    Not(String),
    /// The value breaks a rule, which the text describes.
    Rule(String),
}

/// A violation and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    path: Vec<Step>,
    pub(super) wrong: Violation,
}

pub(super) type Checked = Result<(), Problem>;

impl Problem {
    pub(super) fn new(wrong: Violation) -> Self {
        Self { path: Vec::new(), wrong }
    }

    /// Returns a broken rule. The path has dots, as in [`Problem::dotted`].
    pub(super) fn rule(path: &str, text: impl Into<String>) -> Self {
        let step = |step: &str| match step.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Key(step.to_owned()),
        };
        // Paths are stored from the inside out.
        let path = path.split('.').filter(|step| !step.is_empty()).rev().map(step).collect();
        Self { path, wrong: Violation::Rule(text.into()) }
    }

    pub(super) fn under_index(self, index: usize) -> Self {
        self.under(Step::Index(index))
    }

    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    pub(super) fn under_key(self, key: &str) -> Self {
        self.under(Step::Key(key.to_owned()))
    }

    /// Returns the path as `messages.0.content`.
    pub(super) fn dotted(&self) -> String {
        self.path(|out, index| {
            let _ = write!(out, ".{index}");
        })
    }

    /// Returns the path as `messages[0].content`.
    pub(super) fn bracketed(&self) -> String {
        self.path(|out, index| {
            let _ = write!(out, "[{index}]");
        })
    }

    fn path(&self, write_index: impl Fn(&mut String, usize)) -> String {
        let mut out = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(key) if out.is_empty() => out.push_str(key),
                Step::Key(key) => {
                    out.push('.');
                    out.push_str(key);
                }
                Step::Index(index) => write_index(&mut out, *index),
            }
        }
        out
    }

    /// Returns the path of the object that contains the invalid field, and the field.
    pub(super) fn split(mut self) -> (Self, String) {
        let last = if self.path.is_empty() { None } else { Some(self.path.remove(0)) };
        let name = match last {
            Some(Step::Key(key)) => key,
            Some(Step::Index(index)) => index.to_string(),
            None => String::new(),
        };
        (self, name)
    }
}

impl Expected {
    /// Checks a value. With `nulls`, a null counts as absent.
    pub(super) fn check(&self, value: &Value, nulls: bool) -> Checked {
        match (self, value) {
            (Self::Same(is), _) => is.check(value, nulls),
            (Self::Anything, _) | (Self::Text, Value::String(_)) | (Self::Flag, Value::Bool(_)) => Ok(()),
            (Self::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Self::Number(low, high), Value::Number(number))
                if number.as_f64().is_some_and(|n| (*low..=*high).contains(&n)) =>
            {
                Ok(())
            }
            (Self::Whole(low, high), Value::Number(number))
                if number.as_i64().is_some_and(|n| (*low..=*high).contains(&n)) =>
            {
                Ok(())
            }
            (Self::Map(is), Value::Object(map)) => {
                let mut entries = map.iter();
                entries.try_for_each(|(key, value)| is.check(value, nulls).map_err(|p| p.under_key(key)))
            }
            (Self::List(is), Value::Array(list)) => {
                let mut entries = list.iter().enumerate();
                entries.try_for_each(|(index, value)| is.check(value, nulls).map_err(|p| p.under(Step::Index(index))))
            }
            (Self::Object(fields), Value::Object(_)) => check_fields(fields, value, nulls, None),
            (Self::Tagged(tag, kinds), Value::Object(_)) => {
                let Some(word) = value.get(tag) else {
                    return Err(Problem::new(Violation::Missing).under_key(tag));
                };
                let Some((_, fields)) = kinds.iter().find(|(kind, _)| word == kind) else {
                    let names = kinds.iter().map(|(kind, _)| *kind);
                    return Err(Problem::new(Violation::Not(one_of(names))).under_key(tag));
                };
                check_fields(fields, value, nulls, Some(tag))
            }
            (Self::Either(all), _) => match all.iter().find(|is| is.takes(value)) {
                Some(is) => is.check(value, nulls),
                None => Err(Problem::new(Violation::Not(self.to_string()))),
            },
            _ => Err(Problem::new(Violation::Not(self.to_string()))),
        }
    }

    /// Returns whether the value has the right JSON type, regardless of its content.
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Same(is) => is.takes(value),
            Self::Text | Self::Word(_) => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number(..) | Self::Whole(..) => value.is_number(),
            Self::List(_) => value.is_array(),
            Self::Map(_) | Self::Object(_) | Self::Tagged(..) => value.is_object(),
            Self::Either(all) => all.iter().any(|is| is.takes(value)),
        }
    }
}

fn check_fields(fields: &[Field], value: &Value, nulls: bool, tag: Option<&str>) -> Checked {
    let object = value.as_object();
    for field in fields.iter().filter(|field| field.required) {
        let given = object.and_then(|object| object.get(field.name));
        if given.is_none_or(|value| nulls && value.is_null() && !field.is.takes(value)) {
            return Err(Problem::new(Violation::Missing).under_key(field.name));
        }
    }
    for (name, value) in object.into_iter().flatten() {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            if tag == Some(name) {
                continue;
            }
            return Err(Problem::new(Violation::Unknown).under_key(name));
        };
        if !(nulls && value.is_null()) {
            field.is.check(value, nulls).map_err(|p| p.under_key(name))?;
        }
    }
    Ok(())
}

fn one_of(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    format!("one of {}", names.join(", "))
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anything => f.write_str("a value"),
            Self::Same(is) => is.fmt(f),
            Self::Text => f.write_str("a string"),
            Self::Word(words) => f.write_str(&one_of(words.iter().copied())),
            Self::Flag => f.write_str("a boolean"),
            Self::Number(low, high) => write!(f, "a number from {low} to {high}"),
            Self::Whole(low, i64::MAX) => write!(f, "an integer of at least {low}"),
            Self::Whole(low, high) => write!(f, "an integer from {low} to {high}"),
            Self::List(_) => f.write_str("an array"),
            Self::Map(_) | Self::Object(_) | Self::Tagged(..) => f.write_str("an object"),
            Self::Either(all) => {
                let names: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static NODE: Expected = Expected::Object(&[
        may("next", Expected::Same(&NODE)),
        may("leaf", Expected::Whole(0, 9)),
        must("name", Expected::Text),
    ]);
    static ROOT: Expected = Expected::Object(&[
        must("nodes", Expected::Either(&[Expected::Text, Expected::List(&NODE)])),
        may("kind", Expected::Tagged("type", &[("a", &[must("x", Expected::Flag)]), ("b", &[])])),
    ]);

    fn problem(value: &Value) -> (String, String, Violation) {
        let problem = ROOT.check(value, true).unwrap_err();
        (problem.dotted(), problem.bracketed(), problem.wrong)
    }

    #[test]
    fn accepts_valid_values() {
        for good in [
            json!({"nodes": "all"}),
            json!({"nodes": [{"name": "a", "next": {"name": "b", "leaf": 9}}], "kind": null}),
            json!({"nodes": [], "kind": {"type": "a", "x": true}}),
        ] {
            assert_eq!(ROOT.check(&good, true), Ok(()), "{good}");
        }
        assert!(ROOT.check(&json!({"nodes": [], "kind": null}), false).is_err());
    }

    #[test]
    fn reports_violations_with_their_paths() {
        let path = |value| problem(&value).1;
        assert_eq!(path(json!({"nodes": [{"name": "a"}, {"name": "b", "leaf": 10}]})), "nodes[1].leaf");
        assert_eq!(path(json!({"nodes": [{"name": "a", "next": {"name": "b", "x": 1}}]})), "nodes[0].next.x");
        assert_eq!(path(json!({"nodes": [], "kind": {"type": "c"}})), "kind.type");
        assert_eq!(path(json!({"nodes": [], "kind": {"type": "a"}})), "kind.x");
        let (dotted, _, wrong) = problem(&json!({"nodes": [{}]}));
        assert_eq!((dotted.as_str(), wrong), ("nodes.0.name", Violation::Missing));
        let (_, _, wrong) = problem(&json!({"nodes": 1}));
        assert_eq!(wrong, Violation::Not("a string or an array".to_owned()));
        let rule = Problem::rule("nodes.1.name", "no");
        assert_eq!(rule.bracketed(), "nodes[1].name");
        let (parent, name) = rule.split();
        assert_eq!((parent.bracketed().as_str(), name.as_str()), ("nodes[1]", "name"));
    }
}
