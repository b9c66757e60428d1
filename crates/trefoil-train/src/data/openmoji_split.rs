//! Which pictures of OpenMoji are held out: new combinations of parts that are known from training.
//!
//! A picture is held out only when it shows one skin tone, the same motif occurs in training with another
//! tone, its tone occurs in training with another motif, and neither its caption nor its pixels
//! occur in training.

use std::collections::HashMap;

use trefoil_core::Seed;

/// What the split looks at.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Motif without the tone.
    pub(super) base: String,
    /// `1` to `5` when the picture shows exactly one tone.
    pub(super) tone: Option<u8>,
    /// First caption.
    pub(super) caption: String,
    /// Equal for pictures with equal pixels.
    pub(super) pixels: u64,
}

/// Chooses at most `fraction` of all pictures; `true` means held out.
pub(super) fn hold_out(pictures: &[Candidate], fraction: f64, seed: Seed) -> Vec<bool> {
    let wanted = (pictures.len() as f64 * fraction).round() as usize;
    // How often each motif with a tone, tone, caption and picture is left in training.
    let mut bases: HashMap<&str, usize> = HashMap::new();
    let mut tones: HashMap<u8, usize> = HashMap::new();
    let mut captions: HashMap<&str, usize> = HashMap::new();
    let mut pixels: HashMap<u64, usize> = HashMap::new();
    for picture in pictures {
        if let Some(tone) = picture.tone {
            *bases.entry(&picture.base).or_default() += 1;
            *tones.entry(tone).or_default() += 1;
        }
        *captions.entry(&picture.caption).or_default() += 1;
        *pixels.entry(picture.pixels).or_default() += 1;
    }
    let mut held_out = vec![false; pictures.len()];
    let mut count = 0;
    for index in seed.stream("openmoji held-out", 0).permutation(pictures.len()) {
        if count >= wanted {
            break;
        }
        let picture = &pictures[index as usize];
        let Some(tone) = picture.tone else { continue };
        let base = bases.entry(&picture.base).or_default();
        let of_tone = tones.entry(tone).or_default();
        let unique = captions[picture.caption.as_str()] == 1 && pixels[&picture.pixels] == 1;
        if *base > 1 && *of_tone > 1 && unique {
            *base -= 1;
            *of_tone -= 1;
            held_out[index as usize] = true;
            count += 1;
        }
    }
    held_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_is_a_new_combination_of_known_parts() {
        let mut pictures = Vec::new();
        for motif in 0..30 {
            for tone in 0..=5_u8 {
                pictures.push(Candidate {
                    base: format!("motif {motif}"),
                    tone: (tone > 0).then_some(tone),
                    caption: format!("motif {motif} tone {tone}"),
                    pixels: pictures.len() as u64,
                });
            }
        }
        // A motif with one tone only, and two pictures that are the same.
        pictures[0].tone = None;
        pictures.drain(1..5);
        let last = pictures.len() - 1;
        pictures[last].pixels = pictures[last - 1].pixels;

        let held_out = hold_out(&pictures, 0.6, Seed(4));
        assert_eq!(held_out, hold_out(&pictures, 0.6, Seed(4)));
        assert_ne!(held_out, hold_out(&pictures, 0.6, Seed(5)));
        assert_eq!(held_out.iter().filter(|h| **h).count(), (0.6 * 176.0_f64).round() as usize);
        assert!(!held_out[last] && !held_out[last - 1]);
        let training = || pictures.iter().zip(&held_out).filter(|(_, h)| !**h).map(|(p, _)| p);
        for (picture, _) in pictures.iter().zip(&held_out).filter(|(_, h)| **h) {
            assert!(picture.tone.is_some());
            assert!(training().any(|p| p.base == picture.base && p.tone.is_some()), "{picture:?}");
            assert!(training().any(|p| p.base != picture.base && p.tone == picture.tone));
        }
        assert_eq!(hold_out(&pictures, 0.05, Seed(4)).iter().filter(|h| **h).count(), 9);
    }
}
