//! Who may ask: bearer tokens with a scope and a rate.

mod rate;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::store::ledger::hex;

pub use self::rate::RateLimiter;

/// Random bytes of a secret.
const SECRET: usize = 24;
/// Shortest secret that is taken from a file.
const SHORTEST: usize = 16;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To ask: draw, caption, search, recommend, and see one's own jobs.
    Read,
    /// Also to change what others see: events, items, users and models.
    ReadWrite,
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(found: &str) -> Result<Self, String> {
        match found {
            "read" => Ok(Self::Read),
            "read-write" => Ok(Self::ReadWrite),
            _ => Err(format!("expected `read` or `read-write`, found `{found}`")),
        }
    }
}

/// A token; of its secret only a hash is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called in logs and lists.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub sha256: String,
    /// Requests per second, if they differ from those of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

impl Token {
    /// A token with this secret.
    pub fn new(name: &str, scope: Scope, secret: &str) -> Self {
        Self { name: name.into(), scope, sha256: digest(secret), rate: None }
    }

    /// A token with a secret of the system's randomness, and the secret.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(name: &str, scope: Scope) -> Result<(Self, String), String> {
        let mut bytes = [0; SECRET];
        getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
        let secret = format!("tf_{}", hex(&bytes));
        Ok((Self::new(name, scope, &secret), secret))
    }

    /// Tokens as a file or an environment variable has them: lines of name, scope and secret, and comments after `#`.
    /// In the environment `;` may stand for the end of a line.
    ///
    /// # Errors
    /// The line that is of another form, without the secret.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut tokens: Vec<Self> = Vec::new();
        for (number, line) in (1..).zip(text.split(['\n', ';'])) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, scope, secret) = match words[..] {
                [] => continue,
                [name, scope, secret] => (name, scope, secret),
                _ => return Err(format!("line {number}: expected NAME SCOPE SECRET")),
            };
            let scope = scope.parse().map_err(|error| format!("line {number}: {error}"))?;
            if secret.len() < SHORTEST {
                return Err(format!(
                    "line {number}: the secret has fewer than {SHORTEST} characters"
                ));
            }
            if tokens.iter().any(|token| token.name == name) {
                return Err(format!("line {number}: there are two tokens `{name}`"));
            }
            tokens.push(Self::new(name, scope, secret));
        }
        Ok(tokens)
    }
}

/// The token that has this secret. All are compared, each in constant time, so that the time tells nothing about
/// where a guess began to differ.
pub fn find<'a>(tokens: &'a [Token], secret: &str) -> Option<&'a Token> {
    let asked = digest(secret);
    let mut found = None;
    for token in tokens {
        if bool::from(token.sha256.as_bytes().ct_eq(asked.as_bytes())) {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_found() {
        let text = "web read 0123456789abcdef # the site\n\nimport read-write fedcba9876543210;x read aaaaaaaaaaaaaaaa";
        let tokens = Token::parse(text).unwrap();
        assert_eq!(tokens.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["web", "import", "x"]);
        assert_eq!(find(&tokens, "fedcba9876543210").unwrap().scope, Scope::ReadWrite);
        assert_eq!(find(&tokens, "fedcba9876543211"), None);
        assert_eq!(find(&tokens, ""), None);
        for (bad, part) in [
            ("web read", "expected NAME SCOPE SECRET"),
            ("web all 0123456789abcdef", "found `all`"),
            ("web read short", "fewer than 16"),
            ("a read 0123456789abcdef\na read 0123456789abcdeg", "line 2"),
        ] {
            let error = Token::parse(bad).unwrap_err();
            assert!(error.contains(part) && !error.contains("0123456789abcdef"), "{error}");
        }
        let (token, secret) = Token::generate("new", Scope::Read).unwrap();
        assert_eq!(secret.len(), 3 + 2 * SECRET);
        assert_eq!(find(std::slice::from_ref(&token), &secret), Some(&token));
        assert!(!serde_json::to_string(&token).unwrap().contains(&secret[3..]));
    }
}
