//! Suggestions for misspelt words ("did you mean …?").

use std::fmt::Write;

/// The maximum number of listed alternatives.
const MAX_LISTED: usize = 12;
/// The maximum length of a compared word, because the cost grows with its square.
const MAX_COMPARED: usize = 64;

/// Returns the candidate nearest to `word`, if it is similar enough.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_COMPARED {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', ' '], "_");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_COMPARED)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the end of an error message about an unknown `word`: the nearest candidate, or a list of candidates.
pub(crate) fn instead<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(close) = closest(word, candidates.clone()) {
        return format!("; did you mean `{close}`?");
    }
    let mut list = String::new();
    // An empty name is a name whose own error is reported elsewhere.
    for (index, candidate) in candidates.into_iter().filter(|candidate| !candidate.is_empty()).enumerate() {
        if index == MAX_LISTED {
            list.push_str(", …");
            break;
        }
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(list, "{comma}`{candidate}`");
    }
    if list.is_empty() { list } else { format!("; known: {list}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_similar_words() {
        let known = ["openai", "azure", "max_retries"];
        assert_eq!(closest("opnai", known), Some("openai"));
        assert_eq!(closest("OpenAI", known), Some("openai"));
        assert_eq!(closest("max-retrys", known), Some("max_retries"));
        assert_eq!(closest("mistral", known), None);
        assert_eq!(closest(&"a".repeat(100_000), known), None);
    }

    #[test]
    fn lists_a_limited_number_of_candidates() {
        assert_eq!(instead("zzz", ["a_b", "c_d"]), "; known: `a_b`, `c_d`");
        assert_eq!(instead("zzz", []), "");
        assert_eq!(instead("zzz", ["", "a_b"]), "; known: `a_b`");
        let many: Vec<String> = (0..40).map(|n| format!("model-{n}")).collect();
        assert!(instead("zzz", many.iter().map(String::as_str)).ends_with(", …"));
    }
}
