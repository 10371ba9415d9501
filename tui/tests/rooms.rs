//! The rule of the house, read off the sources: the state does not know how it is drawn.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test must end it, loudly")]

use std::fs;
use std::path::Path;

#[test]
fn the_state_does_not_know_the_renderer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in ["app.rs", "app/keys.rs", "view.rs", "mode.rs", "picture.rs", "input.rs", "explain.rs"] {
        let source = fs::read_to_string(src.join(name)).unwrap();
        for line in source.lines() {
            for word in ["crate::render", "render::", "crate::update"] {
                assert!(!line.contains(word), "{name} must not contain {word:?}: {line}");
            }
        }
    }
}
