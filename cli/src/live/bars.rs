//! Progress as bars at the bottom of a terminal, one for each running step.

use std::collections::HashMap;
use std::time::Duration;

use anstyle::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Bars for what runs; what has ended scrolls away above them.
#[derive(Debug)]
pub(super) struct Bars {
    width: usize,
    multi: MultiProgress,
    running: HashMap<String, ProgressBar>,
}

/// A bar's full length.
const FULL: u64 = 1_000;

impl Bars {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12)),
            running: HashMap::new(),
        }
    }

    pub(super) fn working(&mut self, step: &str, share: Option<f64>, text: &str) {
        let (width, multi) = (self.width, &self.multi);
        let bar = self.running.entry(step.to_owned()).or_insert_with(|| {
            let bar = multi.add(ProgressBar::new(FULL));
            bar.set_style(style(false));
            bar.set_prefix(format!("{step:<width$}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if let Some(share) = share {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 1000"
            )]
            let position = (share.clamp(0.0, 1.0) * 1_000.0) as u64;
            bar.set_style(style(true));
            bar.set_position(position);
        }
        bar.set_message(text.to_owned());
    }

    pub(super) fn remove(&mut self, step: &str) {
        if let Some(bar) = self.running.remove(step) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
    }

    pub(super) fn line(&mut self, step: &str, mark: &str, style: Style, text: &str) {
        let width = self.width;
        self.print(&format!(
            "{style}{mark}{style:#} {step:<width$}  {style}{text}{style:#}"
        ));
    }

    pub(super) fn print(&mut self, text: &str) {
        let plain = || anstream::adapter::strip_str(text).to_string();
        let text = if output::stderr_has_color() {
            text.to_owned()
        } else {
            plain()
        };
        self.multi.suspend(|| output::note(&text));
    }

    pub(super) fn clear(&mut self) {
        for (_, bar) in self.running.drain() {
            bar.finish_and_clear();
        }
        // It may not be redrawn once it is gone: what follows is not ours.
        let _ = self.multi.clear();
    }
}

/// With a bar once there is something to measure. indicatif's own sense of colour
/// does not know our `--color`, so both templates come in both kinds.
fn style(measured: bool) -> ProgressStyle {
    let template = match (measured, output::stderr_has_color()) {
        (false, true) => "{spinner:.cyan} {prefix}  {elapsed:>4.dim}  {wide_msg}",
        (false, false) => "{spinner} {prefix}  {elapsed:>4}  {wide_msg}",
        (true, true) => "{spinner:.cyan} {prefix}  {elapsed:>4.dim}  {bar:24.cyan/dim}  {wide_msg}",
        (true, false) => "{spinner} {prefix}  {elapsed:>4}  {bar:24}  {wide_msg}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates above are well formed")
        .progress_chars("━╸─")
}
