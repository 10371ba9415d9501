//! One step of the dashboard: an input changes the state, and scroll positions are limited to the viewport.

use chrono::{DateTime, Utc};

use crate::app::App;
use crate::input::{Effect, Input};
use crate::render;

impl App {
    /// Applies an input that came at `now`, and returns the effects to carry out.
    pub fn update(&mut self, input: Input, now: DateTime<Utc>) -> Vec<Effect> {
        let effects = self.apply_input(input, now);
        self.clamp_scrolling(render::viewport(self));
        effects
    }
}
