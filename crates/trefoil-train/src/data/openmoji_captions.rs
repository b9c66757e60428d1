//! Captions for OpenMoji pictures, as a person would type them: lower case, short, without emoji.

use super::captions::clean;

/// Longest caption in words, where its parts allow a choice.
const MAX_WORDS: usize = 12;

/// What the catalogue says about a picture.
#[derive(Debug, Clone, Default)]
pub(super) struct Description<'a> {
    /// `woman firefighter: medium skin tone`.
    pub(super) annotation: &'a str,
    /// Keywords, separated by commas; for a picture with a skin tone those of its base.
    pub(super) tags: Vec<&'a str>,
    /// `people-body`.
    pub(super) group: &'a str,
    /// `person-role`.
    pub(super) subgroup: &'a str,
}

impl Description<'_> {
    /// The annotation; a phrase with the tags; a phrase with subgroup and group. Equal ones once.
    pub(super) fn captions(&self) -> Vec<String> {
        let annotation = plain(self.annotation);
        let subject = subject(&annotation);
        let tags = self.tags.iter().flat_map(|tags| tags.split(',')).map(plain);
        let with_tags = extend(&subject, tags.filter(|tag| tag.len() > 2));
        let kinds = [self.subgroup, self.group].map(kind);
        let with_kinds = extend(&subject, kinds.into_iter().filter(|kind| !kind.is_empty()));
        let mut captions: Vec<String> = Vec::with_capacity(3);
        for caption in [annotation, with_tags, with_kinds] {
            if !caption.is_empty() && !captions.contains(&caption) {
                captions.push(caption);
            }
        }
        captions
    }
}

/// Lower case, straight apostrophes, no quotation marks, no emoji.
fn plain(text: &str) -> String {
    let kept = text.chars().filter_map(|c| match c {
        '\u{2019}' | '\u{2018}' => Some('\''),
        '"' | '\u{201c}' | '\u{201d}' => None,
        // Letters with accents stay; pictographs begin here.
        c if u32::from(c) >= 0x2190 || c.is_control() => None,
        c => Some(c),
    });
    clean(&kept.collect::<String>().to_lowercase())
}

/// The annotation as a phrase: `woman firefighter with medium skin tone`, `flag of albania`.
fn subject(annotation: &str) -> String {
    let Some((base, rest)) = annotation.split_once(": ") else { return annotation.into() };
    if base == "flag" {
        return format!("flag of {rest}");
    }
    if base == "keycap" {
        return format!("keycap {rest}");
    }
    let details: Vec<&str> = rest.split(", ").collect();
    let noun = |d: &&str| ["tone", "hair", "beard"].iter().any(|ending| d.ends_with(ending));
    match details[..] {
        [detail] if noun(&detail) => format!("{base} with {detail}"),
        [first, second] if noun(&first) && noun(&second) => {
            format!("{base} with {first} and {second}")
        }
        [first, "bald"] if noun(&first) => format!("bald {base} with {first}"),
        _ => format!("{base}, {rest}"),
    }
}

/// `face-smiling` as `face smiling`; groups of the catalogue that say nothing are empty.
fn kind(name: &str) -> String {
    if name.starts_with("extras") || name == "component" || name.starts_with("other") {
        return String::new();
    }
    match name {
        "people-body" => "people".into(),
        "smileys-emotion" => "smiley".into(),
        "animals-nature" => "nature".into(),
        "food-drink" => "food and drink".into(),
        "travel-places" => "travel and places".into(),
        _ => plain(name).replace('-', " "),
    }
}

/// Adds parts that say something new, as long as the caption stays short.
fn extend(subject: &str, parts: impl Iterator<Item = String>) -> String {
    let mut caption = subject.to_string();
    for part in parts {
        let known = |word: &str| words(&caption).any(|w| w == word);
        if words(&part).all(known) {
            continue;
        }
        if words(&caption).count() + words(&part).count() <= MAX_WORDS {
            caption = format!("{caption}, {part}");
        }
    }
    caption
}

/// The words of a caption without punctuation.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ",:;.!?()".contains(c)).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(annotation: &str, tags: &[&str], group: &str, subgroup: &str) -> Vec<String> {
        Description { annotation, tags: tags.to_vec(), group, subgroup }.captions()
    }

    #[test]
    fn captions_are_phrases() {
        assert_eq!(
            captions(
                "grinning face",
                &["face, grin", "smile, happy"],
                "smileys-emotion",
                "face-smiling"
            ),
            [
                "grinning face",
                "grinning face, grin, smile, happy",
                "grinning face, face smiling, smiley"
            ]
        );
        assert_eq!(
            captions(
                "woman firefighter: medium skin tone",
                &["firetruck, woman"],
                "people-body",
                "person-role"
            ),
            [
                "woman firefighter: medium skin tone",
                "woman firefighter with medium skin tone, firetruck",
                "woman firefighter with medium skin tone, person role, people"
            ]
        );
        assert_eq!(
            captions("man: dark skin tone, bald", &[""], "people-body", "person")[1],
            "bald man with dark skin tone"
        );
        assert_eq!(
            captions("flag: Åland Islands", &["AX, flag"], "flags", "country-flag")[1],
            "flag of åland islands"
        );
        assert_eq!(
            captions("Japanese “here” button", &[], "symbols", "alphanum")[0],
            "japanese here button"
        );
        assert_eq!(captions("axe \u{1fa93} ", &[], "extras-openmoji", "extras"), ["axe"]);
    }

    #[test]
    fn captions_stay_short() {
        let tags = ["one two three, four five six, seven eight nine, ten eleven twelve, x, abc"];
        let long = &captions("a thing", &tags, "objects", "tool")[1];
        assert_eq!(long, "a thing, one two three, four five six, seven eight nine, abc");
        assert!(words(long).count() <= MAX_WORDS);
    }
}
