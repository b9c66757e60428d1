//! The page for people. Its files are part of the program: it needs no other machine, and no build of its own.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use crate::app::App;

/// Address, type and content of a file in `assets/studio/`.
macro_rules! file {
    ($name:literal, $kind:literal) => {
        file!(concat!("/studio/", $name), $name, $kind)
    };
    ($address:expr, $name:literal, $kind:literal) => {
        ($address, $kind, include_bytes!(concat!("../../assets/studio/", $name)))
    };
}

/// All of them.
const FILES: &[(&str, &str, &[u8])] = &[
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("base.css", "text/css; charset=utf-8"),
    file!("parts.css", "text/css; charset=utf-8"),
    file!("views.css", "text/css; charset=utf-8"),
    file!("api.js", "text/javascript"),
    file!("blend.js", "text/javascript"),
    file!("chart.js", "text/javascript"),
    file!("connection.js", "text/javascript"),
    file!("create.js", "text/javascript"),
    file!("dom.js", "text/javascript"),
    file!("drop.js", "text/javascript"),
    file!("easel.js", "text/javascript"),
    file!("edit.js", "text/javascript"),
    file!("find.js", "text/javascript"),
    file!("gallery.js", "text/javascript"),
    file!("instant.js", "text/javascript"),
    file!("items.js", "text/javascript"),
    file!("jobs.js", "text/javascript"),
    file!("main.js", "text/javascript"),
    file!("png.js", "text/javascript"),
    file!("runs.js", "text/javascript"),
    file!("samples.js", "text/javascript"),
    file!("settings.js", "text/javascript"),
    file!("state.js", "text/javascript"),
    file!("token.js", "text/javascript"),
    file!("viewer.js", "text/javascript"),
    file!("why.js", "text/javascript"),
    file!("wish.js", "text/javascript"),
];

/// What the page may do: run its own scripts, show its own pictures and ask this server. Should a text of somebody ever
/// be taken for a part of the page, it could still not run or send anything.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A route for each file.
pub(super) fn router() -> Router<App> {
    FILES.iter().fold(Router::new(), |router, &(address, kind, content)| {
        let file = async move || (headers(kind), content).into_response();
        router.route(address, get(file))
    })
}

fn headers(kind: &'static str) -> [(HeaderName, HeaderValue); 5] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the program has other files under the same names.
        (header::CACHE_CONTROL, "no-cache"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// Whether an address is one of the page, which everybody may see.
pub(crate) fn is_open(path: &str) -> bool {
    FILES.iter().any(|(address, ..)| *address == path)
}
