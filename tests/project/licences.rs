//! `hana-link` is the only program under the GPL.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::{env, fs};

use hana_lab::project_root;
use serde_json::Value;

/// The package that joins Ableton Link, and the library that it uses.
const GPL: &str = "hana_link";
const ABLETON_LINK: &str = "rusty_link";

/// The metadata of the workspace for the platform of the tests.
struct Workspace {
    packages: BTreeMap<String, Value>,
    /// The linked dependencies and build dependencies of each package, without those of tests.
    needs: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
    default_members: Vec<String>,
}

#[test]
fn only_hana_link_links_ableton_link() {
    let workspace = Workspace::read();
    for member in &workspace.members {
        let all = workspace.all_needs(member);
        let name = workspace.name(member);
        let has = |wanted: &str| all.iter().any(|id| workspace.name(id) == wanted);
        assert_eq!(has(ABLETON_LINK), name == GPL, "{name} and {ABLETON_LINK}");
        assert!(name == GPL || !has(GPL), "{name} is linked with {GPL}");
    }
}

#[test]
fn only_hana_link_is_under_the_gpl_and_has_its_licence() {
    let workspace = Workspace::read();
    for member in &workspace.members {
        let name = workspace.name(member);
        if name == GPL {
            assert_eq!(workspace.licence(member), "GPL-3.0-or-later");
            continue;
        }
        assert_eq!(workspace.licence(member), "MIT OR Apache-2.0", "{name}");
        for id in workspace.all_needs(member) {
            let licence = workspace.licence(&id);
            let is_free = licence.split(" OR ").any(|one| !one.contains("GPL"));
            assert!(is_free, "{name} needs {}, which is under {licence}", workspace.name(&id));
        }
    }
    let text = fs::read_to_string(project_root().join("crates/hana_link/LICENSE")).unwrap();
    assert!(
        text.contains("GNU GENERAL PUBLIC LICENSE") && text.contains("Version 3, 29 June 2007")
    );
}

#[test]
fn default_members_are_all_crates_except_hana_link() {
    let workspace = Workspace::read();
    let names = |ids: &[String]| -> BTreeSet<String> {
        ids.iter().map(|id| workspace.name(id).to_owned()).collect()
    };
    let mut wanted = names(&workspace.members);
    assert!(wanted.remove(GPL), "{GPL} is part of the workspace");
    assert_eq!(names(&workspace.default_members), wanted, "`default-members` in Cargo.toml");
}

#[test]
fn every_library_has_what_a_registry_asks_for() {
    let workspace = Workspace::read();
    let published = |id: &&String| workspace.packages[*id]["publish"].is_null();
    let libraries: Vec<&String> = workspace.members.iter().filter(published).collect();
    assert!(libraries.len() >= 8, "{libraries:?}");
    for id in libraries {
        let package = &workspace.packages[id];
        for field in ["description", "license", "readme"] {
            assert!(package[field].is_string(), "{id} has no {field}");
        }
        for field in ["keywords", "categories"] {
            assert!(!package[field].as_array().unwrap().is_empty(), "{id} has no {field}");
        }
    }
}

impl Workspace {
    fn read() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // The metadata is filtered by this platform, because the dependencies of others may not have been downloaded.
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(rustc).arg("-vV").output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", host])
            .current_dir(project_root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let known: Value = serde_json::from_slice(&output.stdout).unwrap();
        let id = |value: &Value| value.as_str().unwrap().to_owned();
        let ids = |value: &Value| value.as_array().unwrap().iter().map(id).collect();
        let packages =
            known["packages"].as_array().unwrap().iter().map(|p| (id(&p["id"]), p.clone()));
        let needs = known["resolve"]["nodes"].as_array().unwrap().iter().map(|node| {
            let deps = node["deps"].as_array().unwrap().iter();
            let linked = deps.filter(|dep| {
                dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
            });
            (id(&node["id"]), linked.map(|dep| id(&dep["pkg"])).collect())
        });
        Self {
            packages: packages.collect(),
            needs: needs.collect(),
            members: ids(&known["workspace_members"]),
            default_members: ids(&known["workspace_default_members"]),
        }
    }

    fn name(&self, id: &str) -> &str {
        self.packages[id]["name"].as_str().unwrap()
    }

    fn licence(&self, id: &str) -> &str {
        self.packages[id]["license"].as_str().unwrap_or("")
    }

    /// Returns all direct and transitive dependencies of a package.
    fn all_needs(&self, id: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for need in &self.needs[next] {
                if found.insert(need.clone()) {
                    open.push(need);
                }
            }
        }
        found
    }
}
