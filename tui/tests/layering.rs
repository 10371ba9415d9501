//! The layering of the dashboard, checked in its sources: the state must not import the renderer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

#[test]
fn the_state_does_not_know_the_renderer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in ["app.rs", "app/keys.rs", "view.rs", "mode.rs", "snapshot.rs", "input.rs", "explain.rs"] {
        let source = fs::read_to_string(src.join(name)).unwrap();
        for line in source.lines() {
            for word in ["crate::render", "render::", "crate::update"] {
                assert!(!line.contains(word), "{name} must not contain {word:?}: {line}");
            }
        }
    }
}
