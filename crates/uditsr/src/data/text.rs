//! Text to words.

use unicode_segmentation::UnicodeSegmentation as _;

/// Lower-cased words of a text: those of Unicode's rules (UAX 29), cut further at every mark inside
/// them (`rock'n'roll`, `3.14`, `trip_hop`); each character of Chinese and Japanese is a word.
/// Full-width letters and digits become ordinary ones.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for segment in text.unicode_words() {
        for piece in segment.split(is_joint) {
            push(piece, &mut words);
        }
    }
    words
}

/// Whether [`words`] of this text has any.
pub(crate) fn has_word(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Marks that do not end a word in UAX 29 but do here.
fn is_joint(c: char) -> bool {
    matches!(
        c,
        '\'' | '.'
            | ','
            | ':'
            | ';'
            | '_'
            | '·'
            | '\u{2018}'
            | '\u{2019}'
            | '\u{2024}'
            | '\u{2027}'
    ) || matches!(c, '\u{203f}' | '\u{2040}' | '\u{ff07}' | '\u{ff0e}' | '\u{ff3f}' | '\u{ff1a}')
}

fn push(piece: &str, words: &mut Vec<String>) {
    let mut word = String::new();
    // As a string, since the form of a letter may depend on its place (a final sigma).
    let lower = piece.chars().map(narrow).collect::<String>().to_lowercase();
    for c in lower.chars() {
        if is_cjk(c) {
            flush(&mut word, words);
            words.push(c.into());
        } else {
            word.push(c);
        }
    }
    flush(&mut word, words);
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if has_word(word) {
        words.push(std::mem::take(word));
    }
    word.clear();
}

/// Full-width forms of ASCII to ASCII.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Ideographs and kana. Korean separates its words by spaces, so it needs no such rule.
fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_scripts() {
        for (text, expected) in [
            ("Running SHOES, size 42!", &["running", "shoes", "size", "42"][..]),
            (
                "rock'n'roll trip_hop lo-fi 80’s",
                &["rock", "n", "roll", "trip", "hop", "lo", "fi", "80", "s"],
            ),
            ("ΌΔΟΣ Straße ÉTÉ", &["όδος", "straße", "été"]),
            ("cafe\u{301}", &["cafe\u{301}"]),
            ("家常美食 iPhone手机", &["家", "常", "美", "食", "iphone", "手", "机"]),
            ("かたカタ 한국어 단어", &["か", "た", "カ", "タ", "한국어", "단어"]),
            ("हिन्दी शब्द", &["हिन्दी", "शब्द"]),
            ("ＮＩＫＥ４２", &["nike42"]),
            ("?!… 🎸", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
            assert_eq!(has_word(text), !expected.is_empty(), "{text}");
        }
    }
}
