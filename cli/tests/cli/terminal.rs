//! What a terminal shows that a pipe does not.

use std::fs::File;
use std::io::Read as _;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::Home;

/// Runs the program with stderr on a terminal of its own, and gives what it showed.
fn on_a_terminal(home: &Home, args: &[&str], env: &[(&str, &str)]) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = Winsize {
        ws_row: 30,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).unwrap();
    let mut command = home.command(args);
    command
        .env("TERM", "xterm-256color")
        .envs(env.iter().copied())
        .stderr(theirs);
    let reader = std::thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal whose other end is closed gives an error, not an end.
        while let Ok(n @ 1..) = File::from(ours.try_clone().unwrap()).read(&mut buffer) {
            shown.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let status = command.status().unwrap();
    drop(command);
    let shown = reader.join().unwrap();
    assert!(status.success(), "{shown}");
    shown
}

#[test]
fn running_steps_have_bars_and_ended_ones_a_mark() {
    let home = Home::new();
    let shown = on_a_terminal(&home, &["run", "nap.yaml", "-i", "time=500ms"], &[]);
    assert!(
        shown.contains("✓") && shown.contains("sleep") && shown.contains("\x1b[32m"),
        "{shown:?}"
    );
    assert!(
        shown.contains("\x1b[2K"),
        "bars are redrawn in place: {shown:?}"
    );
    assert!(
        shown.contains("slept") || shown.trim_end().ends_with(')'),
        "{shown:?}"
    );
}

#[test]
fn no_color_means_no_color_even_on_a_terminal() {
    let home = Home::new();
    let shown = on_a_terminal(
        &home,
        &["run", "nap.yaml", "-i", "time=300ms"],
        &[("NO_COLOR", "1")],
    );
    let colors = ["\x1b[3", "\x1b[1m", "\x1b[2m"]
        .iter()
        .filter(|c| shown.contains(**c))
        .count();
    assert_eq!(colors, 0, "{shown:?}");
}

#[test]
fn a_pipe_gets_no_escapes_unless_they_are_asked_for() {
    let home = Home::new();
    let plain = home.run(&["run", "echo.yaml"]);
    assert!(!plain.stderr.contains('\x1b'), "{:?}", plain.stderr);
    let colored = home.run(&["run", "echo.yaml", "--color", "always"]);
    assert!(colored.stderr.contains("\x1b[32m"), "{:?}", colored.stderr);
}
