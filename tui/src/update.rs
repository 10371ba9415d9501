//! One step of the dashboard: an input changes the state, and the state is fitted to what there is room for.

use chrono::{DateTime, Utc};

use crate::app::App;
use crate::input::{Effect, Input};
use crate::render;

impl App {
    /// Takes one input in and says what to do about it. `now` is the time at which it came.
    pub fn update(&mut self, input: Input, now: DateTime<Utc>) -> Vec<Effect> {
        let effects = self.take(input, now);
        self.fit(render::viewport(self));
        effects
    }
}
