//! Who may ask, how often, and from which page.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::auth::{self, Scope};
use crate::error::ApiError;
use crate::routes::studio;

/// Addresses that need no token.
const OPEN: [&str; 5] = ["/livez", "/readyz", "/healthz", "/openapi.json", "/docs"];
/// Addresses that change what others see, by the beginning; everything else may be asked with any token.
const WRITING: [(&str, &str); 7] = [
    ("POST", "/v1/events"),
    ("POST", "/v1/items"),
    ("DELETE", "/v1/items/"),
    ("DELETE", "/v1/users/"),
    ("GET", "/v1/users/"),
    ("POST", "/v1/models/"),
    ("GET", "/v1/backup"),
];

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name of the token, empty without tokens.
    pub(crate) name: String,
    /// What the token allows.
    pub(crate) scope: Scope,
}

impl Caller {
    /// Whether the caller may see what belongs to `owner`.
    pub(crate) fn sees(&self, owner: &str) -> bool {
        self.scope == Scope::ReadWrite || self.name == owner
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or(ApiError::Unauthorized)
    }
}

/// Lets a request pass, with its [`Caller`], or answers it.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = match &origin {
        Some(origin) => match check_origin(&app, origin, request.headers()) {
            Ok(allowed) => allowed,
            Err(error) => return error.into_response(),
        },
        None => None,
    };
    if request.method() == Method::OPTIONS && origin.is_some() {
        return with_origin(StatusCode::NO_CONTENT.into_response(), allowed, true);
    }
    let response = match check(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    with_origin(response, allowed, false)
}

/// A page of another origin may ask only if it was allowed; one of this server always. Returns the origin that is to
/// be told so.
fn check_origin(
    app: &App,
    origin: &HeaderValue,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, ApiError> {
    let text = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own =
        text.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    if own {
        return Ok(None);
    }
    if app.config().cors.iter().any(|allowed| allowed == text || allowed == "*") {
        return Ok(Some(origin.clone()));
    }
    Err(ApiError::Forbidden(format!(
        "pages of {text} may not ask; start the server with `--cors {text}`"
    )))
}

fn with_origin(
    mut response: Response,
    origin: Option<HeaderValue>,
    is_preflight: bool,
) -> Response {
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if is_preflight {
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let names = HeaderValue::from_static("authorization, content-type, x-request-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    response
}

fn check(app: &App, request: &Request) -> Result<Caller, ApiError> {
    let path = request.uri().path();
    let tokens = app.tokens();
    let anybody = Caller { name: String::new(), scope: Scope::ReadWrite };
    if OPEN.contains(&path) || studio::is_open(path) {
        return Ok(anybody);
    }
    if tokens.is_empty() {
        check_host(app, request.headers())?;
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = address.map_or_else(String::new, |info| info.0.ip().to_string());
        app.rates.take(&address, app.config().rate).map_err(ApiError::TooOften)?;
        return Ok(anybody);
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    let secret = given.and_then(|given| {
        let (kind, secret) = given.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    let token =
        secret.and_then(|secret| auth::find(&tokens, secret)).ok_or(ApiError::Unauthorized)?;
    let rate = token.rate.unwrap_or(app.config().rate);
    app.rates.take(&format!("token:{}", token.name), rate).map_err(ApiError::TooOften)?;
    if token.scope < scope_of(request.method(), path) {
        let message = format!("the token `{}` may read, not write", token.name);
        return Err(ApiError::Forbidden(message));
    }
    Ok(Caller { name: token.name.clone(), scope: token.scope })
}

fn scope_of(method: &Method, path: &str) -> Scope {
    let writes = |(other, begin): &(&str, &str)| method == *other && path.starts_with(begin);
    if WRITING.iter().any(writes) { Scope::ReadWrite } else { Scope::Read }
}

/// Without tokens, only this machine is served; a name that somebody else resolves to it is not it, so that a page
/// cannot reach the server by a name of its own.
fn check_host(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    if app.config().is_open || !app.config().bind.ip().is_loopback() {
        return Ok(());
    }
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let authority: Option<Authority> = host.to_str().ok().and_then(|host| host.parse().ok());
    let name = authority.as_ref().map_or("", Authority::host);
    let name = name.trim_matches(['[', ']']);
    let is_here = name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if is_here {
        return Ok(());
    }
    Err(ApiError::Forbidden("without tokens the server answers to localhost only".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_things_needs_a_token_that_may() {
        for (method, path, expected) in [
            (Method::POST, "/v1/events", Scope::ReadWrite),
            (Method::POST, "/v1/items", Scope::ReadWrite),
            (Method::GET, "/v1/items", Scope::Read),
            (Method::DELETE, "/v1/items/x", Scope::ReadWrite),
            (Method::DELETE, "/v1/users/x", Scope::ReadWrite),
            (Method::GET, "/v1/users/x/events", Scope::ReadWrite),
            (Method::POST, "/v1/models/recommender/load", Scope::ReadWrite),
            (Method::GET, "/v1/models", Scope::Read),
            (Method::GET, "/v1/backup", Scope::ReadWrite),
            (Method::POST, "/v1/images/generations", Scope::Read),
            (Method::POST, "/v1/jobs", Scope::Read),
            (Method::DELETE, "/v1/jobs/x", Scope::Read),
            (Method::POST, "/v1/search", Scope::Read),
        ] {
            assert_eq!(scope_of(&method, path), expected, "{method} {path}");
        }
    }
}
