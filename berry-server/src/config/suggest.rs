//! "did you mean": the nearest of the words that would have been right.

use std::fmt::Write;

/// Longer lists of alternatives help nobody.
const LIST_AT_MOST: usize = 12;
/// Nobody misspells a longer word into something recognisable, and distances cost its square.
const COMPARE_AT_MOST: usize = 64;

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > COMPARE_AT_MOST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', ' '], "_");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARE_AT_MOST)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a sentence about an unknown `word`: the nearest candidate, or the list of them all.
pub(super) fn instead<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(close) = closest(word, candidates.clone()) {
        return format!("; did you mean `{close}`?");
    }
    let mut list = String::new();
    for (index, candidate) in candidates.into_iter().enumerate() {
        if index == LIST_AT_MOST {
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
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["openai", "azure", "max_retries"];
        assert_eq!(closest("opnai", known), Some("openai"));
        assert_eq!(closest("OpenAI", known), Some("openai"));
        assert_eq!(closest("max-retrys", known), Some("max_retries"));
        assert_eq!(closest("mistral", known), None);
        assert_eq!(closest(&"a".repeat(100_000), known), None);
    }

    #[test]
    fn without_a_near_one_all_are_listed_but_not_too_many() {
        assert_eq!(instead("zzz", ["a_b", "c_d"]), "; known: `a_b`, `c_d`");
        assert_eq!(instead("zzz", []), "");
        let many: Vec<String> = (0..40).map(|n| format!("model-{n}")).collect();
        assert!(instead("zzz", many.iter().map(String::as_str)).ends_with(", …"));
    }
}
