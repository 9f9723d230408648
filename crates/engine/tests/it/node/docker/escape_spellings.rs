//! Many spellings of compose files that try to reach a directory of the host. The canary lies outside of
//! everything that the node may mount. Afterwards a test reads it: nothing was written there, and nothing
//! of it was shown.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use casemate_core::{cvm::Boot, id::EngineVmId};
use casemate_engine::node::{Node, VmConfig};

use super::{
    apps::config,
    world::{IMAGE, World, eventually, left},
};

const SECRET: &str = "canary-5f1e";

/// A directory of the host that no CVM may read or write.
struct Canary(PathBuf);

impl Canary {
    fn in_dir(dir: &Path) -> Self {
        let path = dir.join("canary");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("secret"), SECRET).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    async fn is_untouched(&self, world: &World, vm: &EngineVmId) {
        let names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "something was written outside of the CVM");
        let log = world.log(vm).await;
        assert!(!log.contains(SECRET), "something outside of the CVM was read: {log}");
    }
}

/// A service that reads and writes what is at /h.
fn intruder(mount: &str, rest: &str) -> String {
    format!(
        "services:\n  web:\n    image: {IMAGE}\n    volumes: [{mount}]\n    command: sh -c 'cat /h/secret /h; \
         echo x > /h/written; sleep 1000'\n{rest}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_volume_options_mounts_a_directory_of_the_host() {
    let world = World::new().await;
    let canary = Canary::in_dir(world.dir());
    let path = canary.path();
    let options = [
        format!("{{type: tmpfs, o: bind, device: {path}}}"),
        format!("{{type: tmpfs, o: 'size=1m,bind', device: {path}}}"),
        format!("{{type: tmpfs, o: rbind, device: '{path}'}}"),
        format!("{{type: none, o: bind, device: {path}}}"),
        format!("{{type: tmpfs, device: {path}}}"),
        format!("{{o: bind, device: {path}}}"),
        "{type: tmpfs, o: bind, device: '${TOKEN}'}".to_owned(),
        "{type: tmpfs, o: '${GREETING}', device: '${TOKEN}'}".to_owned(),
        format!("{{type: \"tmpf\\u0073\", o: \"bin\\u0064\", device: {path}}}"),
        format!("{{type: tmpfs, o: 'size=1m,uid=0,lowerdir={path}', device: tmpfs}}"),
    ];
    let mut files: Vec<String> = options
        .iter()
        .map(|options| {
            intruder("'vol:/h'", &format!("volumes: {{vol: {{driver_opts: {options}}}}}"))
        })
        .collect();
    let merged = format!(
        "x-o: &o {{type: tmpfs, o: bind}}\nx-v: &v\n  driver_opts: {{<<: *o, device: {path}}}\nvolumes:\n  vol: *v"
    );
    files.push(intruder("{type: volume, source: vol, target: /h}", &merged));
    let reset = format!(
        "volumes: {{vol: {{driver: local, driver_opts: !override {{type: tmpfs, o: bind, device: {path}}}}}}}"
    );
    files.push(intruder("'vol:/h'", &reset));
    for file in files {
        let vm = VmConfig { ..config(&file) };
        let sealed = world.seal(&vm.app_id, &[("TOKEN", path), ("GREETING", "bind")]);
        let vm = VmConfig { sealed_env: Some(sealed), ..vm };
        let id = world.start(&vm).await;
        let cause = world.failed(&vm).await;
        assert!(cause.contains("volume vol"), "{cause}\n{file}");
        canary.is_untouched(&world, &id).await;
        world.remove(&vm, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_memory_is_allowed_and_passes_the_check() {
    let world = World::new().await;
    let file = format!(
        "services:\n  web:\n    image: {IMAGE}\n    volumes: ['vol:/v', 'data:/d', /anonymous]\n    command: sh -c \
         'df /v | tail -n1; sleep 1000'\nvolumes:\n  data:\n  vol: {{driver_opts: {{type: tmpfs, device: tmpfs, o: \
         'size=1m,uid=1000,mode=1777'}}}}"
    );
    let vm = config(&file);
    let id = world.up(&vm).await;
    world.remove(&vm, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_directory_cannot_be_written_by_any_spelling_of_its_mount() {
    let world = World::new().await;
    let canary = Canary::in_dir(world.dir());
    for directory in [
        "'/var/run/dstack:/d'",
        "'/var/run/dstack:/d:rw'",
        "'/run/../run/dstack/:/d'",
        "{type: bind, source: /var/run/dstack, target: /d, read_only: false}",
        "{type: bind, source: /var/run/dstack, target: /d, bind: {propagation: rshared}}",
    ] {
        let file = format!(
            "services:\n  a:\n    image: {IMAGE}\n    volumes: [{directory}]\n    command: sh -c 'rm -f \
             /d/dstack.sock; ln -sfn {path} /d/dstack.sock && echo replaced; sleep 1000'\n    healthcheck: {{test: \
             [CMD, \"true\"], interval: 1s}}\n  b:\n    image: {IMAGE}\n    read_only: true\n    depends_on: {{a: \
             {{condition: service_healthy}}}}\n    volumes: ['/var/run/dstack.sock:/h']\n    command: sh -c 'ls -l /h; \
             cat /h/secret; echo x > /h/written; sleep 1000'\n",
            path = canary.path()
        );
        let vm = config(&file);
        let id = world.up(&vm).await;
        canary.is_untouched(&world, &id).await;
        let log = world.log(&id).await;
        assert!(!log.contains("replaced"), "{log}");
        world.remove(&vm, &id).await;
    }
}

/// The engine separates the parts of a mount by colons.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_target_has_a_colon_leads_nowhere() {
    let world = World::new().await;
    let canary = Canary::in_dir(world.dir());
    for target in
        [format!("{}{}", "${PATH:+..}/".repeat(40), canary.path()), format!("{}:/h", canary.path())]
    {
        let vm = config(&intruder("'/data/l:/h'", ""));
        let id = world.node.create(&vm).await.unwrap();
        fs::create_dir_all(world.guest(&id, "/data")).unwrap();
        symlink(&target, world.guest(&id, "/data/l")).unwrap();
        world.node.start(&id).await.unwrap();
        eventually("end of the boot", || async {
            matches!(world.look(&vm).await.boot, Boot::Done | Boot::Failed(_)).then_some(())
        })
        .await;
        canary.is_untouched(&world, &id).await;
        world.remove(&vm, &id).await;
    }
}

/// A guest path with a `$` in it means itself, wherever the link at it leads.
#[tokio::test(flavor = "multi_thread")]
async fn dollars_in_paths_and_links_lead_nowhere() {
    let world = World::new().await;
    let canary = Canary::in_dir(world.dir());
    let up = "${PATH+..}/".repeat(40);
    let escaped_up = "$${PATH+..}/".repeat(40);
    let path = canary.path().trim_start_matches('/');
    for (link, target, mount) in [
        ("/data/$link", format!("/{path}"), "'/data/$$link:/h'"),
        ("/data/$link", format!("../../../../../../../../{path}"), "'/data/$$link:/h'"),
        ("/data/l", format!("{up}{path}"), "'/data/l:/h'"),
        ("/data/l", format!("{escaped_up}{path}"), "{type: bind, source: /data/l, target: /h}"),
        ("/data/${HOME}", format!("/{path}"), "'/data/$${HOME}:/h'"),
    ] {
        let vm = config(&intruder(mount, ""));
        let id = world.node.create(&vm).await.unwrap();
        let place = world.guest(&id, link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(&target, &place).unwrap();
        world.node.start(&id).await.unwrap();
        world.booted(&vm).await;
        canary.is_untouched(&world, &id).await;
        world.remove(&vm, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_and_secrets_read_no_file_of_the_host() {
    let world = World::new().await;
    let canary = Canary::in_dir(world.dir());
    for (kind, file) in [("configs", "/data/$$f"), ("secrets", "/data/$$f"), ("configs", "/data/f")]
    {
        let text = format!(
            "services:\n  web:\n    image: {IMAGE}\n    {kind}: [{{source: c, target: /h}}]\n    command: sh -c 'cat \
             /h /run/secrets/h; sleep 1000'\n{kind}: {{c: {{file: '{file}'}}}}\n"
        );
        let vm = config(&text);
        let id = world.node.create(&vm).await.unwrap();
        let place = world.guest(&id, &file.replace("$$", "$"));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let target = format!("{}{}/secret", "${PATH+..}/".repeat(40), canary.path());
        let target =
            if file.ends_with("/f") { target } else { format!("{}/secret", canary.path()) };
        symlink(target, &place).unwrap();
        world.node.start(&id).await.unwrap();
        let cause = world.failed(&vm).await;
        assert!(cause.contains("is not there in the CVM"), "{cause}");
        canary.is_untouched(&world, &id).await;
        assert_eq!(left(&["ps", "-a"], &id), "", "nothing was started");
        world.remove(&vm, &id).await;
    }
}
