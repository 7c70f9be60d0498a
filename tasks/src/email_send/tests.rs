#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquatint_engine::task::{Remedy, TaskError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::{EmailSend, Input, Security, Server, ServerOptions, message};
use crate::testing::Bench;

const PASSWORD: &str = "correct horse";

fn options() -> ServerOptions {
    ServerOptions {
        host: Some("localhost".to_owned()),
        tls: Some(Security::None),
        from: Some("Media <media@example.org>".to_owned()),
        ..ServerOptions::default()
    }
}

fn server(allowed: &[&str]) -> Server {
    Server::new(ServerOptions {
        allowed_recipients: Some(allowed.iter().map(|a| (*a).to_owned()).collect()),
        ..options()
    })
    .unwrap()
}

fn input(more: &Value) -> Input {
    let mut input = json!({
        "to": ["someone@example.org"], "subject": "It is done", "text": "All pictures are there.",
    });
    let fields = input.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    serde_json::from_value(input).unwrap()
}

fn composed(more: &Value) -> Result<String, TaskError> {
    let server = Server::new(options()).unwrap();
    let composed = message::compose(&server, &input(more), "run/step/3")?;
    Ok(String::from_utf8(composed.bytes).unwrap())
}

#[test]
fn a_message_says_who_wrote_to_whom_and_keeps_its_id() {
    let mail = composed(&json!({"subject": "Schön", "text": "Grüße\nvon hier"})).unwrap();
    for line in [
        "From: Media <media@example.org>\r\n",
        "To: someone@example.org\r\n",
        "Message-ID: <run.step.3@example.org>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Subject: =?utf-8?b?U2Now7Zu?=\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
    ] {
        assert!(mail.contains(line), "{line}: {mail}");
    }
    assert!(mail.is_ascii());
    let mail = composed(&json!({"message": "order.17"})).unwrap();
    assert!(
        mail.contains("Message-ID: <order.17@example.org>\r\n"),
        "{mail}"
    );
    let mail = composed(&json!({"html": "<p>All pictures are there."})).unwrap();
    assert!(
        mail.contains("multipart/alternative") && mail.contains("text/html"),
        "{mail}"
    );
}

#[test]
fn no_field_begins_another_header_or_another_command() {
    for (more, word) in [
        (
            json!({"subject": "Hi\r\nBcc: all@example.org"}),
            "`subject`",
        ),
        (json!({"subject": "Hi\nthere"}), "`subject`"),
        (json!({"subject": "Hi\u{2028}there"}), "`subject`"),
        (json!({"subject": "Hi\u{0}"}), "`subject`"),
        (json!({"subject": ""}), "`subject`"),
        (json!({"subject": "x".repeat(201)}), "`subject`"),
        (json!({"message": "a@b"}), "`message`"),
        (
            json!({"message": "a>\r\nBcc: all@example.org"}),
            "`message`",
        ),
        (json!({"message": "a..b"}), "`message`"),
        (json!({"message": ""}), "`message`"),
        (json!({"to": []}), "`to`"),
        (json!({"to": vec!["a@example.org"; 51]}), "`to`"),
        (
            json!({"to": ["a@example.org>\r\nRCPT TO:<b@example.org"]}),
            "`to`",
        ),
        (json!({"to": ["a@example.org, b@example.org"]}), "`to`"),
        (json!({"to": ["Me <a@example.org>"]}), "`to`"),
        (json!({"to": ["\"a b\"@example.org"]}), "`to`"),
        (json!({"to": ["@relay.example.org:a@example.org"]}), "`to`"),
        (json!({"to": ["example.org"]}), "`to`"),
        (json!({"text": "x".repeat(100_001)}), "`text`"),
        (json!({"html": "x".repeat(100_001)}), "`html`"),
    ] {
        let error = composed(&more).unwrap_err();
        assert_eq!(
            (error.class.as_str(), error.remedy),
            ("invalid_input", Remedy::Fail),
            "{more}"
        );
        assert!(
            error.message.starts_with(word) && !error.message.contains('\n'),
            "{}",
            error.message
        );
    }
    // What servers might take for the end of the message is a line of text.
    let mail = composed(&json!({"text": "one\r.\rtwo\n.\nthree\r\n.\r\nfour"})).unwrap();
    let body = mail.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "");
    assert!(!body.contains(['\r', '\n']), "lone line breaks: {mail:?}");
}

#[test]
fn only_those_who_are_allowed_are_written_to() {
    let lists: &[(&[&str], &str, bool)] = &[
        (&["example.org"], "a@example.org", true),
        (&["Example.org"], "a@EXAMPLE.ORG", true),
        (&["example.org"], "a@mail.example.org", true),
        (&["example.org"], "a@badexample.org", false),
        (&["example.org"], "a@example.org.evil.net", false),
        (&["boss@example.org"], "Boss@example.org", true),
        (&["boss@example.org"], "a@example.org", false),
        (&["boss@example.org"], "boss@mail.example.org", false),
        (&["example.org"], "stranger%evil.net@example.org", false),
        (&["example.org"], "evil.net!stranger@example.org", false),
        (&[], "a@example.org", false),
    ];
    for (allowed, to, expected) in lists {
        let made = message::compose(&server(allowed), &input(&json!({"to": [to]})), "k");
        match made {
            Ok(_) => assert!(expected, "{allowed:?} must not allow {to}"),
            Err(error) => {
                assert!(!expected, "{allowed:?} must allow {to}: {}", error.message);
                assert_eq!(
                    (error.class.as_str(), error.remedy),
                    ("not_allowed", Remedy::Fail)
                );
            }
        }
    }
}

#[test]
fn a_server_that_cannot_be_used_is_refused_by_the_field_at_fault() {
    let with = |change: &dyn Fn(&mut ServerOptions)| {
        let mut options = options();
        options.host = Some("mail.example.org".to_owned());
        options.tls = None;
        change(&mut options);
        Server::new(options)
    };
    let secret = || Some(PASSWORD.to_owned().into());
    type Change = fn(&mut ServerOptions);
    let cases: [(&str, Change); 9] = [
        ("host", |o| o.host = None),
        ("host", |o| o.host = Some("mail example\r\n".to_owned())),
        ("from", |o| o.from = None),
        ("from", |o| o.from = Some("nobody".to_owned())),
        ("user", |o| o.user = Some("me".to_owned())),
        ("password", |o| {
            o.password = Some(PASSWORD.to_owned().into());
        }),
        ("tls", |o| o.tls = Some(Security::None)),
        ("hello", |o| o.hello = Some("a b".to_owned())),
        ("allowed_recipients", |o| {
            o.allowed_recipients = Some(vec!["*.org".to_owned()]);
        }),
    ];
    for (field, change) in cases {
        let error = with(&change).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(!error.to_string().contains(PASSWORD));
    }
    for (port, tls, expected) in [
        (None, None, (465, Security::Tls)),
        (None, Some(Security::StartTls), (587, Security::StartTls)),
        (Some(465), None, (465, Security::Tls)),
        (Some(587), None, (587, Security::StartTls)),
        (Some(2525), Some(Security::Tls), (2525, Security::Tls)),
    ] {
        let server = with(&|o| (o.port, o.tls) = (port, tls)).unwrap();
        assert_eq!((server.port, server.tls), expected);
    }
    let plain = with(&|o| (o.tls, o.allow_plain) = (Some(Security::None), true));
    assert_eq!(plain.unwrap().port, 25);
    let known = with(&|o| (o.user, o.password) = (Some("me".to_owned()), secret())).unwrap();
    assert!(!format!("{known:?} {known}").contains(PASSWORD));
}

/// A server that answers what begins so with that, and else that it is well.
async fn scripted(
    answers: &'static [(&'static str, &'static str)],
) -> (ServerOptions, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.unwrap();
        let mut is_data = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            ear.lock().unwrap().push(line.clone());
            if is_data && line != "." {
                continue;
            }
            let set = answers.iter().find(|(begins, _)| line.starts_with(begins));
            let answer = set.map_or(
                match line.as_str() {
                    "DATA" => "354 go on",
                    l if l.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN LOGIN",
                    l if l.starts_with("AUTH") => "235 welcome",
                    _ => "250 well",
                },
                |(_, answer)| answer,
            );
            is_data = answer.starts_with("354");
            if answer.is_empty() {
                return;
            }
            if answer == "…" {
                std::future::pending::<()>().await;
            }
            stream
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .unwrap();
        }
    });
    let options = ServerOptions {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        user: Some("media".to_owned()),
        password: Some(PASSWORD.to_owned().into()),
        ..options()
    };
    (options, heard)
}

fn task(options: ServerOptions) -> EmailSend {
    EmailSend::new(Some(Server::new(options).unwrap()))
}

const MAIL: fn() -> Value = || {
    json!({"to": ["a@example.org", "b@example.org", "A@example.org".to_lowercase()],
        "subject": "It is done", "text": "one\n.\ntwo"})
};

#[tokio::test]
async fn a_message_is_handed_over_for_everybody_and_once() {
    let (options, heard) = scripted(&[(".", "250 2.0.0 queued as 17"), ("..", "500 no")]).await;
    let done = Bench::new().run(task(options), MAIL()).await.unwrap();
    assert_eq!(
        (&done["recipients"], &done["answer"]),
        (&json!(2), &json!("250 2.0.0 queued as 17"))
    );
    let heard = heard.lock().unwrap().clone();
    let commands: Vec<&str> = heard
        .iter()
        .map(String::as_str)
        .filter(|l| l.contains(":<"))
        .collect();
    assert_eq!(
        commands,
        [
            "MAIL FROM:<media@example.org>",
            "RCPT TO:<a@example.org>",
            "RCPT TO:<b@example.org>"
        ]
    );
    assert!(
        heard.contains(&"..".to_owned()),
        "a lone dot is doubled: {heard:?}"
    );
}

#[tokio::test]
async fn what_a_server_answers_decides_whether_another_try_may_help() {
    for (answers, class, remedy, words) in [
        (
            &[("MAIL", "451 later")] as &'static [_],
            "busy",
            Remedy::Retry,
            "451 later",
        ),
        (
            &[("RCPT TO:<b", "450 4.2.0 grey")],
            "busy",
            Remedy::Retry,
            "b@example.org: 450 4.2.0 grey",
        ),
        (&[(".", "452 full")], "busy", Remedy::Retry, "452 full"),
        (&[("AUTH", "454 4.7.0 away")], "busy", Remedy::Retry, "454"),
        (&[("EHLO", "421 busy")], "busy", Remedy::Retry, "421"),
        (&[("DATA", "")], "network", Remedy::Retry, ""),
        (&[("RCPT", "nonsense")], "network", Remedy::Retry, ""),
        (
            &[("RCPT TO:<b", "550 5.1.1 nobody")],
            "refused",
            Remedy::Fail,
            "b@example.org: 550 5.1.1 nobody",
        ),
        (&[(".", "554 spam")], "refused", Remedy::Fail, "554 spam"),
        (
            &[("EHLO", "250-here\r\n250 AUTH CRAM-MD5")],
            "refused",
            Remedy::Fail,
            "authentication",
        ),
        (
            &[("AUTH", "535 5.7.8 not correct horse")],
            "credentials",
            Remedy::Fail,
            "535 5.7.8 not …",
        ),
    ] {
        let (options, heard) = scripted(answers).await;
        let error = Bench::new().run(task(options), MAIL()).await.unwrap_err();
        let error: TaskError = error;
        assert_eq!(
            (error.class.as_str(), error.remedy),
            (class, remedy),
            "{answers:?}: {}",
            error.message
        );
        assert!(
            error.message.contains(words),
            "{answers:?}: {}",
            error.message
        );
        assert!(!error.message.contains(PASSWORD));
        let has_begun = heard.lock().unwrap().iter().any(|l| l == "DATA");
        let may_begin = answers[0].0 == "." || answers[0].0 == "DATA";
        assert_eq!(has_begun, may_begin, "{answers:?}: all recipients, or none");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_tried_again() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let away = ServerOptions {
        port: Some(unused.port()),
        ..options()
    };
    let error = Bench::new().run(task(away), MAIL()).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("network", Remedy::Retry)
    );

    let (silent, _) = scripted(&[("MAIL", "…")]).await;
    let mut silent = task(silent);
    silent.patience = Duration::from_millis(50);
    let error = Bench::new().run(silent, MAIL()).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("timeout", Remedy::Retry)
    );
}

#[tokio::test]
async fn an_attempt_that_is_told_to_stop_waits_for_no_server() {
    let (silent, _) = scripted(&[("MAIL", "…")]).await;
    let bench = Bench::new();
    bench.cancel.cancel();
    let error = bench.run(task(silent), MAIL()).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Cancelled);
}

#[tokio::test]
async fn a_server_that_must_speak_tls_and_cannot_gets_no_password() {
    let (plain, heard) = scripted(&[]).await;
    let options = ServerOptions {
        tls: Some(Security::StartTls),
        ..plain
    };
    let error = Bench::new().run(task(options), MAIL()).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("no_tls", Remedy::Fail)
    );
    assert!(!heard.lock().unwrap().iter().any(|l| l.starts_with("AUTH")));
}

#[tokio::test]
async fn without_a_server_it_is_said_what_to_configure() {
    let error = Bench::new()
        .run(EmailSend::new(None), MAIL())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("not_configured", Remedy::Fail)
    );
    assert!(error.message.contains("[smtp]") && error.message.contains("AQUATINT_SMTP_URL"));
}

#[tokio::test]
async fn looking_at_a_server_logs_in_and_sends_nothing() {
    let (options, heard) = scripted(&[]).await;
    Server::new(options).unwrap().look().await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.iter().any(|l| l.starts_with("AUTH")) && heard.contains(&"NOOP".to_owned()));
    assert!(!heard.iter().any(|l| l.starts_with("MAIL")));
}
