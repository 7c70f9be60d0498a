//! Progress as lines, for pipes, logs and dumb terminals.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anstyle::Style;

use crate::output::{self, DIM, PLAIN};

/// Lines under a column of step names.
#[derive(Debug)]
pub(super) struct Plain {
    width: usize,
    /// When a step began, and when it last had a line.
    told: HashMap<String, (Instant, Instant)>,
}

impl Plain {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            told: HashMap::new(),
        }
    }

    pub(super) fn started(&mut self, step: &str, text: &str) {
        let now = Instant::now();
        self.told.insert(step.to_owned(), (now, now));
        self.line(step, DIM, text);
    }

    /// Every second at first, less often the longer it takes: a night's log stays readable.
    pub(super) fn working(&mut self, step: &str, text: &str) {
        let now = Instant::now();
        let (began, last) = self.told.entry(step.to_owned()).or_insert((now, now));
        let pause = Duration::from_secs(1).max((now - *began) / 20);
        if now - *last >= pause {
            *last = now;
            self.line(step, PLAIN, text);
        }
    }

    pub(super) fn line(&self, step: &str, style: Style, text: &str) {
        output::note(&format!(
            "{step:<width$}  {style}{text}{style:#}",
            width = self.width
        ));
    }
}
