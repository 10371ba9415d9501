//! Checks of README.md and the pages of `docs/`: the length, the links, and the tests of each promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry, extension)),
            false if entry.extension().is_some_and(|of| of == extension) => found.push(entry),
            false => {}
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files(&repository().join("docs"), "md");
    let own = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    pages.extend(own.map(|page| repository().join(page)));
    pages
}

/// Returns the anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|char| char.is_alphanumeric() || "-_".contains(*char)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(repository().join("README.md")).unwrap().lines().count();
    assert!(lines <= 200, "{lines} lines: put what is more into docs/");
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: there is no {link}", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).contains(anchor), "{}: there is no {link}", page.display());
            }
        }
    }
}

/// Each row of the list must name existing places, and each number in a test's name must have a row.
#[test]
fn every_promise_has_its_tests() {
    let list = fs::read_to_string(repository().join("docs/promises.md")).unwrap();
    let mut promised = BTreeSet::new();
    for row in list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, proof] = cells[..] else { panic!("three cells: {row}") };
        let number = number.parse::<u32>().unwrap();
        assert!(promised.last().is_none_or(|last| *last < number), "in order: {row}");
        promised.insert(number);
        let places: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!places.is_empty(), "no test: {row}");
        for place in places {
            assert!(repository().join(place).exists(), "there is no {place}: {row}");
        }
    }
    // Two numbers are kept for what is not built yet.
    let missing: Vec<u32> = (1..=35).filter(|number| !promised.contains(number)).collect();
    assert_eq!(missing, [33, 34]);

    let sources = ["daemon", "proto", "ctl", "tui", "tests"];
    for file in sources.iter().flat_map(|folder| files(&repository().join(folder), "rs")) {
        for name in fs::read_to_string(&file).unwrap().split("fn p").skip(1) {
            let Some((number, _)) = name.split_once('_') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            // p50 and p99 are percentiles.
            let is_known = promised.contains(&number) || number >= 50;
            assert!(is_known, "{}: docs/promises.md has no promise {number}", file.display());
        }
    }
}
