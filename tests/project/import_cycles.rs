//! Files of a crate use each other in one direction only.
//!
//! A module root is a table of contents: it declares its modules and re-exports their names. Types are in separate
//! files, which do not use the modules above them. `cargo nextest run -p hana_lab --test project import_cycles::
//! --no-capture` lists all cycles with each use.

use std::fmt::Write;
use std::fs;

use crate::imports::{Arrow, Sources};
use hana_lab::project_root;

/// The number of files per crate that may still be in cycles, or zero for a crate that is not listed.
///
/// A number may only decrease.
const STILL_IN_CYCLES: &[(&str, usize)] = &[];

#[test]
fn crates_have_no_more_files_in_cycles_than_listed() {
    let mut too_many = String::new();
    for crate_folder in fs::read_dir(project_root().join("crates")).unwrap() {
        let folder = crate_folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let cycles = Sources::read(&folder.join("src")).unwrap().cycles().unwrap();
        let files: usize = cycles.iter().map(|cycle| cycle.files.len()).sum();
        let known = STILL_IN_CYCLES.iter().find(|(known, _)| *known == name);
        let known = known.map_or(0, |(_, files)| *files);
        println!("== {name}: {files} files in {} cycles, {known} known", cycles.len());
        for cycle in &cycles {
            println!("{cycle:#}");
        }
        if files > known {
            writeln!(too_many, "{name}: {files} files in cycles, {known} allowed").unwrap();
            for cycle in &cycles {
                writeln!(too_many, "{cycle}").unwrap();
            }
        }
    }
    assert!(too_many.is_empty(), "{too_many}");
}

/// Lists the uses in a made-up crate as `from -> to name:line`.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let show = |arrow: Arrow| {
        let Arrow { from, to, name, line } = arrow;
        format!("{} -> {} {name}:{line}", from.display(), to.display())
    };
    sources(files).arrows().unwrap().into_iter().map(show).collect()
}

/// Lists the files of each cycle of a made-up crate.
fn cycles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let cycles = sources(files).cycles().unwrap();
    let names = cycles
        .iter()
        .map(|cycle| cycle.files.iter().map(|file| file.display().to_string()).collect());
    names.collect()
}

fn sources(files: &[(&str, &str)]) -> Sources {
    Sources(files.iter().map(|(file, text)| ((*file).into(), (*text).to_owned())).collect())
}

#[test]
fn uses_in_one_direction_are_no_cycle() {
    let files = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("a.rs", "use crate::b::B;\npub struct A(B);"),
        ("b.rs", "pub struct B(u8);"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> b.rs b::B:1"]);
    assert!(cycles(&files).is_empty());
}

#[test]
fn two_files_that_use_each_other_are_a_cycle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B;\npub struct A(Box<B>);"),
        ("b.rs", "\npub struct B(Vec<crate::a::A>);"),
        ("c.rs", "pub fn c(_: crate::a::A) {}"),
    ];
    assert_eq!(cycles(&files), [["a.rs", "b.rs"]]);
    let text = sources(&files).cycles().unwrap()[0].to_string();
    assert!(text.contains("a.rs uses b::B at line 1 (b.rs)"), "{text}");
    assert!(text.contains("b.rs uses a::A at line 2 (a.rs)"), "{text}");
}

#[test]
fn use_of_a_re_export_points_at_the_definition() {
    let files = [
        ("lib.rs", "mod a; mod b; mod group; pub use group::Inner as Renamed; pub use b::*;"),
        ("a.rs", "use crate::Renamed;\nuse crate::group::Other;\npub struct A;"),
        ("b.rs", "pub struct B(crate::a::A);"),
        ("group.rs", "mod inner; mod other; pub(crate) use inner::*; pub use self::other::Other;"),
        ("group/inner.rs", "use crate::B;\npub struct Inner(B);"),
        ("group/other.rs", "pub enum Other { One }"),
    ];
    let expected = [
        "a.rs -> group/inner.rs group::inner::Inner:1",
        "a.rs -> group/other.rs group::other::Other:2",
        "b.rs -> a.rs a::A:1",
        "group/inner.rs -> b.rs b::B:1",
    ];
    assert_eq!(arrows(&files), expected);
    assert_eq!(cycles(&files), [["a.rs", "b.rs", "group/inner.rs"]]);
}

#[test]
fn child_that_uses_a_type_of_its_parent_is_a_cycle() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child;\nuse child::Child;\npub struct Parent(Child);\npub struct Own;"),
        ("parent/child.rs", "use super::Own;\npub struct Child(Own);"),
    ];
    assert_eq!(cycles(&files), [["parent/child.rs", "parent.rs"]]);
}

#[test]
fn parent_that_only_re_exports_is_no_cycle() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child;\npub use child::Child;\npub struct Own;"),
        ("parent/child.rs", "use super::Own;\npub struct Child(Own);"),
    ];
    assert!(cycles(&files).is_empty());
    let uses_what_it_re_exports = "mod child;\npub use child::Child;\npub struct Own(Child);";
    let files = [files[0], ("parent.rs", uses_what_it_re_exports), files[2]];
    assert_eq!(cycles(&files), [["parent/child.rs", "parent.rs"]]);
}

#[test]
fn uses_in_tests_are_no_arrows() {
    let test = "pub struct A;
        #[cfg(test)] use crate::b::B;
        #[cfg(test)] mod tests { use super::*; use crate::b::B; #[test] fn t() { B::new(); } }
        #[cfg(all(test, unix))] mod more;
        impl A { #[cfg(test)] fn t(&self) -> crate::b::B { panic!() } }
        #[cfg(any(test, feature = \"lab\"))] fn also(_: crate::c::C) {}";
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", test),
        ("a/more.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;\npub struct B(A);"),
        ("c.rs", "pub struct C;"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> c.rs c::C:6", "b.rs -> a.rs a::A:1"]);
}

#[test]
fn paths_in_modules_macros_and_attributes_are_uses() {
    let user = "use crate::tools;
        fn f() { tools::hammer::hit(); }
        fn g() { println!(\"{}\", crate::tools::saw::cut()); }
        #[derive(Serialize)] struct S { #[serde(with = \"crate::tools::file\")] s: u8 }
        fn h() { use super::tools::rasp::Rasp; let tools = Rasp; tools.hammer.saw(); }
        fn i() { crate::shout!(); std::fs::read(); ::tools::hammer::hit(); }";
    let files = [
        ("main.rs", "mod user; mod tools; mod macros;"),
        ("user.rs", user),
        ("tools/mod.rs", "pub mod hammer; pub mod saw; pub mod file; pub mod rasp;"),
        ("tools/hammer.rs", "pub fn hit() {}"),
        ("tools/saw.rs", "pub fn cut() {}"),
        ("tools/file.rs", "pub fn serialize() {}"),
        ("tools/rasp.rs", "pub struct Rasp;"),
        ("macros.rs", "#[macro_export] macro_rules! shout { () => { $crate::tools::saw::cut() } }"),
    ];
    let expected = [
        "macros.rs -> tools/saw.rs tools::saw::cut:1",
        "user.rs -> macros.rs macros::shout:6",
        "user.rs -> tools/file.rs tools::file:4",
        "user.rs -> tools/hammer.rs tools::hammer::hit:2",
        "user.rs -> tools/rasp.rs tools::rasp::Rasp:5",
        "user.rs -> tools/saw.rs tools::saw::cut:3",
    ];
    assert_eq!(arrows(&files), expected);
}

#[test]
fn platform_files_and_inline_modules_are_followed() {
    let files = [
        (
            "lib.rs",
            "mod os { #[cfg(unix)] mod unix; #[cfg(windows)] #[path = \"w.rs\"] mod unix;
            pub use unix::kill; } mod user;",
        ),
        ("os/unix.rs", "pub fn kill() { crate::user::used() }"),
        ("w.rs", "pub fn kill() {}"),
        ("user.rs", "use crate::os::kill;\npub fn used() { kill() }"),
    ];
    assert_eq!(cycles(&files), [["os/unix.rs", "user.rs"]]);
    assert!(arrows(&files).contains(&"user.rs -> w.rs os::unix::kill:1".into()));
}

#[test]
fn module_without_a_file_is_an_error() {
    let error = sources(&[("lib.rs", "mod lost;")]).cycles().unwrap_err();
    assert_eq!(error.to_string(), "lib.rs: no file for `mod lost`");
}
