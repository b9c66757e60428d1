//! Models that are not here yet: fetched from the Hub where this build can and the user lets it.

use std::path::PathBuf;

use trefoil_core::hub::{HubCache, HubId};

use crate::hints::hinted;
use crate::output::Talk;

/// Fetches a model, or what is missing of it, and returns its folder.
#[cfg(feature = "hub")]
pub(crate) fn fetch(cache: &HubCache, id: &HubId, talk: Talk) -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    use trefoil_core::hub::{Fetching, Hub, is_offline};
    use trefoil_train::Progress;

    const MEGABYTE: u64 = 1_000_000;
    if is_offline() {
        return Err(hinted(absent(cache, id), "HF_HUB_OFFLINE forbids to fetch it"));
    }
    let mut shown: Option<(usize, Progress)> = None;
    let folder = Hub::of_user().pull(cache, id, &mut |Fetching { file, place, bytes }| {
        let [place, count] = place;
        let (here, all) =
            (bytes.0.div_ceil(MEGABYTE), bytes.1.unwrap_or(bytes.0).div_ceil(MEGABYTE));
        if shown.as_ref().is_none_or(|(last, _)| *last != place) {
            if let Some((_, last)) = shown.take() {
                last.finish();
            }
            talk.note(format_args!("fetching {file} ({place} of {count}), {all} MB"));
            shown = Some((place, Progress::new(talk.progress(), "MB", here, all)));
        }
        if let Some((_, progress)) = &mut shown {
            progress.update(here, "");
        }
    });
    if let Some((_, last)) = shown {
        last.finish();
    }
    folder.with_context(|| format!("{id} is no folder, and it was not fetched"))
}

/// This build does not fetch.
#[cfg(not(feature = "hub"))]
pub(crate) fn fetch(cache: &HubCache, id: &HubId, _: Talk) -> anyhow::Result<PathBuf> {
    let hint = format!(
        "this build does not download; `hf download {}/{} --revision {}` fills the cache, and so does a build with the \
         feature `hub`",
        id.owner,
        id.name,
        id.revision()
    );
    Err(hinted(absent(cache, id), hint))
}

fn absent(cache: &HubCache, id: &HubId) -> String {
    format!("no such model folder: {id}, nor is it in {}", cache.root().display())
}
