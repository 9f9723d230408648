//! The rule of the house: the hash that a client was told is the hash of the bytes that the node
//! boots and that every client gets. Held for requests made by chance, from a seed.

use serde_json::{Map, Value, json};

use crate::fields::{
    common::World,
    row::{deploy, merge},
};

const CASES: u64 = 60;

/// SplitMix64: enough chance for a test, the same on every run.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.draw() % n as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn text(&mut self) -> String {
        const ODD: &[char] = &[
            '\0',
            '\u{1}',
            '\u{8}',
            '\t',
            '\n',
            '\u{b}',
            '\u{c}',
            '\r',
            '\u{1f}',
            ' ',
            '"',
            '\\',
            '/',
            '<',
            '&',
            '$',
            '{',
            '}',
            ':',
            '#',
            '\'',
            '\u{7f}',
            '\u{80}',
            '\u{85}',
            '\u{a0}',
            'é',
            '\u{301}',
            '\u{2028}',
            '\u{2029}',
            '\u{feff}',
            '\u{fffd}',
            '\u{ffff}',
            '漢',
            '🦀',
            '\u{10ffff}',
        ];
        let length = self.below(40);
        let mut text = String::new();
        for _ in 0..length {
            match self.below(3) {
                0 => text.push(*self.one(ODD)),
                1 => text.push(char::from(b'a' + u8::try_from(self.below(26)).unwrap())),
                _ => text.extend(char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap())),
            }
        }
        text
    }

    /// Any of the compose file's fields, said or not.
    fn compose_file(&mut self) -> Value {
        let mut file = Map::new();
        let comment: String =
            self.text().chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        let comment: String = comment
            .chars()
            .filter(|c| !matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
            .collect();
        file.insert(
            "docker_compose_file".into(),
            format!("services: {{a: {{image: x}}}}\n# {comment}\n").into(),
        );
        for key in ["pre_launch_script", "init_script", "salt", "default_gateway_domain", "name"] {
            match self.below(3) {
                0 => {}
                1 => drop(file.insert(key.into(), self.one(&[Value::Null, "".into()]).clone())),
                _ => drop(file.insert(key.into(), self.text().into())),
            }
        }
        for key in [
            "gateway_enabled",
            "tproxy_enabled",
            "kms_enabled",
            "local_key_provider_enabled",
            "no_instance_id",
            "public_logs",
            "public_sysinfo",
            "public_tcbinfo",
            "secure_time",
        ] {
            match self.below(4) {
                0 => {}
                1 => drop(file.insert(key.into(), Value::Null)),
                said => drop(file.insert(key.into(), (said == 2).into())),
            }
        }
        let lists = [json!([]), json!(["kms"]), json!(["x", "tproxy-net"]), Value::Null];
        file.insert("features".into(), self.one(&lists).clone());
        file.insert(
            "allowed_envs".into(),
            self.one(&[json!(["B", "A", "B"]), Value::Null]).clone(),
        );
        file.insert(
            "storage_fs".into(),
            self.one(&["zfs".into(), "ext4".into(), Value::Null]).clone(),
        );
        file.insert(
            "manifest_version".into(),
            self.one(&[json!(1), json!(2.0), json!("3"), Value::Null]).clone(),
        );
        file.into()
    }

    fn request(&mut self, name: &str) -> Value {
        let mut request = json!({ "name": name, "compose_file": self.compose_file() });
        for said in [
            json!({ "env_keys": ["A", "C"] }),
            json!({ "secure_time": true }),
            json!({ "skip_gateway": true }),
            json!({ "storage_fs": "ext4" }),
            json!({ "key_provider_mode": "kms" }),
        ] {
            if self.below(2) == 0 {
                merge(&mut request, &said);
            }
        }
        request
    }
}

#[tokio::test]
async fn the_hash_told_is_the_hash_of_the_bytes_that_boot() {
    for world_seed in 0..2 {
        let world = World::new().await;
        for seed in (0..CASES).filter(|seed| seed % 2 == world_seed) {
            let name = format!("chance-{seed}");
            let request = Chance(seed).request(&name);
            // A failure names its request.
            let shown = request.to_string();
            let reply = world.post("/cvms/provision", request.clone()).await;
            assert!(reply.status.is_success(), "seed {seed}: {} for {shown}", reply.text);
            let told = reply.ok();
            let made = deploy(&world, request, &json!({})).await;
            assert_eq!(made.reply["compose_hash"], told["compose_hash"], "seed {seed}: {shown}");
            let parsed: std::collections::BTreeMap<String, Value> =
                serde_json::from_str(&made.document).unwrap();
            let canonical = serde_json::to_string(&parsed).unwrap();
            assert_eq!(canonical, made.document, "seed {seed}: its own canonical form: {shown}");
            assert_eq!(parsed["gateway_enabled"], parsed["tproxy_enabled"], "seed {seed}");
            let listed = parsed["features"].as_array().unwrap().contains(&"tproxy-net".into());
            assert_eq!(parsed["gateway_enabled"], listed, "seed {seed}: {shown}");
        }
    }
}
