//! Groups of files that reach each other along arrows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Arrow;

type Graph<'a> = BTreeMap<&'a Path, BTreeSet<&'a Path>>;

/// Returns the strongly connected components of more than one file.
pub(crate) fn components(arrows: &[Arrow]) -> Vec<Vec<PathBuf>> {
    let mut onward = Graph::new();
    let mut backward = Graph::new();
    for arrow in arrows {
        onward.entry(&arrow.from).or_default().insert(&arrow.to);
        backward.entry(&arrow.to).or_default().insert(&arrow.from);
    }
    let mut done = BTreeSet::new();
    let mut found = vec![];
    for file in onward.keys().copied() {
        if done.contains(file) {
            continue;
        }
        // The graphs are small, so the component of a file is found as the intersection of the files that it reaches
        // and the files that reach it.
        let component: Vec<&Path> =
            reached(&onward, file).intersection(&reached(&backward, file)).copied().collect();
        done.extend(component.iter().copied());
        if component.len() > 1 {
            found.push(component.into_iter().map(Path::to_owned).collect());
        }
    }
    found
}

fn reached<'a>(graph: &Graph<'a>, start: &'a Path) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for next in graph.get(file).into_iter().flatten().copied() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}
