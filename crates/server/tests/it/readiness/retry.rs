//! What is tried again, and what is not.

use axum::body::Body;

use crate::readiness::stage::{Stage, read};

/// Two instances, the first with a request that it will not answer.
async fn in_the_middle(
    method: &str,
    path: &str,
) -> (Stage, crate::readiness::stage::Said, [usize; 2]) {
    let stage = Stage::with(2, "{}").await;
    let guests = [stage.guest("web-1").await, stage.guest("web-2").await];
    let asked = stage.spawn(method, path);
    let victim = tokio::select! {
        () = guests[0].works_on(1) => 0,
        () = guests[1].works_on(1) => 1,
    };
    guests[1 - victim].tickets.add_permits(2);
    guests[victim].kill();
    let said = asked.await.unwrap();
    if said.status == 200 && path == "/slow" {
        assert_eq!(said.text, guests[1 - victim].name);
    }
    let served = [guests[victim].served(), guests[1 - victim].served()];
    (stage, said, served)
}

#[tokio::test]
async fn a_get_that_was_not_answered_goes_to_another() {
    let (_stage, said, served) = in_the_middle("GET", "/slow").await;
    said.ok();
    assert_eq!(served, [1, 1]);
}

#[tokio::test]
async fn a_small_answer_that_breaks_off_is_none() {
    let (_stage, said, served) = in_the_middle("GET", "/half").await;
    assert_eq!(said.ok(), "firstother");
    assert_eq!(served, [1, 1]);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let (_stage, said, served) = in_the_middle("POST", "/slow").await;
    let said = said.refused(502, "does not answer");
    assert_eq!(said.headers["x-casemate-gateway"], "failed");
    assert_eq!(served, [1, 0]);
}

/// Whoever takes no connection has seen nothing, so any method and any body goes on.
#[tokio::test]
async fn a_connection_that_is_refused_leads_to_another() {
    let stage = Stage::with(3, "{}").await;
    for name in ["web-1", "web-3"] {
        stage.guest(name).await.kill();
    }
    let last = stage.guest("web-2").await;
    for (method, length) in [("GET", 0), ("POST", 0), ("POST", 1000), ("POST", 300_000)] {
        for _ in 0..4 {
            let chunk = || Ok::<_, std::io::Error>(vec![b'x'; 1000]);
            let body = match length {
                0 => Body::empty(),
                1000 => Body::from(vec![b'x'; 1000]),
                length => {
                    let chunks =
                        futures_util::stream::iter((0..length / 1000).map(move |_| chunk()));
                    Body::from_stream(chunks)
                }
            };
            let request = stage.request(method, "/who", body);
            let said = read(stage.gateway.answer(request).await.unwrap()).await;
            assert_eq!(said.ok(), last.name, "{method} of {length}");
        }
    }
    last.kill();
    let said = stage.ask("POST", "/who").await.refused(502, "does not answer");
    assert_eq!(said.headers["x-casemate-gateway"], "not-sent");
}

/// One that failed is left alone for a while, and then trusted again.
#[tokio::test]
async fn a_suspect_is_chosen_last() {
    let stage = Stage::with(2, "{}").await;
    let first = stage.guest("web-1").await;
    first.kill();
    let second = stage.guest("web-2").await;
    let refused = || stage.ask("GET", "/who");
    // Until the first one was tried.
    while second.served() < 20 {
        refused().await.ok();
    }
    first.boot().await;
    let before = first.served();
    for _ in 0..30 {
        refused().await.ok();
    }
    assert_eq!(first.served(), before, "a suspect");
    stage.world.clock.advance_ms(2001);
    stage.until("trusted", |said| said.text == first.name).await;
}

/// Streams are passed on as they come, not kept until their end.
#[tokio::test]
async fn a_stream_comes_at_once() {
    use futures_util::StreamExt;
    let stage = Stage::with(1, "{}").await;
    let request = stage.request("GET", "/stream", Body::empty());
    let response = stage.gateway.answer(request).await.unwrap();
    let mut parts = response.into_body().into_data_stream();
    assert_eq!(parts.next().await.unwrap().unwrap(), "line\n");
}
