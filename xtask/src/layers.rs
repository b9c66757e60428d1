//! The arrow rule: a crate may depend only on crates of a lower layer.

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::process;

/// Crates from the ground up; crates of one layer do not see each other.
const LAYERS: [&[&str]; 6] = [
    &["trefoil-kernels"],
    &["trefoil-core"],
    &["trefoil-diffusion", "trefoil-train", "trefoil-eval"],
    &["unidiffuser", "uni-instruct", "uditsr"],
    &["trefoil-server"],
    &["trefoil"],
];
/// Sees everything and is seen by nobody.
const OUTSIDE: &str = "xtask";

/// The part of `cargo metadata` that is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// A crate that it names in its manifest.
#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
}

/// Checks the manifests of the workspace.
///
/// # Errors
/// Names every arrow that does not point down, and every crate without a layer.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut metadata = process::cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&process::read(&mut metadata)?)
        .context("unexpected output of cargo metadata")?;
    let problems = problems(&metadata.packages);
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

/// What is wrong with the dependencies, one line each.
fn problems(packages: &[Package]) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut problems = Vec::new();
    for Package { name, dependencies } in packages {
        if name == OUTSIDE {
            continue;
        }
        let Some(own) = layer(name) else {
            problems.push(format!("`{name}` has no layer in xtask/src/layers.rs"));
            continue;
        };
        for Dependency { name: other } in dependencies {
            if other == OUTSIDE || layer(other).is_some_and(|below| below >= own) {
                problems.push(format!("`{name}` must not depend on `{other}`: arrows point down"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|&name| Dependency { name: name.into() });
        Package { name: name.into(), dependencies: dependencies.collect() }
    }

    #[test]
    fn arrows_point_down_only() {
        let good = [package("trefoil", &["unidiffuser", "serde"]), package("xtask", &["trefoil"])];
        assert!(problems(&good).is_empty());
        let up = problems(&[package("trefoil-core", &["trefoil-train"])]);
        assert_eq!(up, ["`trefoil-core` must not depend on `trefoil-train`: arrows point down"]);
        let beside = problems(&[package("trefoil-eval", &["trefoil-train"])]);
        assert_eq!(beside.len(), 1);
        assert_eq!(problems(&[package("new", &[])]).len(), 1);
    }
}
