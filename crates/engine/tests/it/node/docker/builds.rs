//! Images from Dockerfiles in the compose file.

use super::{
    apps::config,
    world::{IMAGE, World, docker},
};

#[tokio::test]
async fn an_inline_dockerfile_is_built_and_its_image_goes_with_the_vm() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web:
    build:
      context: .
      args: {{WORD: built}}
      dockerfile_inline: |
        ARG BASE={IMAGE}
        FROM $$BASE
        ARG WORD
        RUN mkdir /w && echo $$WORD > /w/index.html
        CMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/w\"]
    ports: ['8080:80']
  named:
    build: {{dockerfile_inline: 'FROM {IMAGE}'}}
    image: my-local-app:abc
    pull_policy: build
    command: sleep 1000
"
    ));
    let vm = world.up(&config).await;
    assert_eq!(world.get(&vm, 8080).await.trim(), "built");
    let images = || docker(&["images", "-q", "--filter", &format!("label=casemate.vm={vm}")]);
    assert_eq!(images().lines().count(), 2);
    assert_eq!(docker(&["images", "-q", "my-local-app:abc"]), "", "the name is the guest's own");
    world.remove(&config, &vm).await;
    assert_eq!(images(), "");
}

#[tokio::test]
async fn a_build_that_fails_says_why() {
    let world = World::new().await;
    let config = config(&format!(
        "services: {{web: {{build: {{dockerfile_inline: \"FROM {IMAGE}\\nRUN echo oops && exit 4\"}}}}}}"
    ));
    world.start(&config).await;
    let cause = world.failed(&config).await;
    assert!(cause.starts_with("service web: the build failed: "), "{cause}");
    assert!(cause.contains("oops"), "{cause}");
}
