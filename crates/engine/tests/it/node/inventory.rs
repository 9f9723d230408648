//! The form in which inventories are stored.

use casemate_core::stored;
use casemate_engine::node::Inventory;
use serde_json::Value;

#[test]
fn an_inventory_is_written_and_read_as_ever() {
    let golden = include_str!("../../golden/stored/inventory.v1.json");
    let read: Inventory = stored::read(golden).unwrap();
    let written: Value = serde_json::from_str(&stored::write(&read).unwrap()).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(golden).unwrap());
}

#[test]
fn a_row_from_before_capabilities_promises_nothing() {
    let golden = include_str!("../../golden/stored/inventory.v1.json");
    let mut row: Value = serde_json::from_str(golden).unwrap();
    row.as_object_mut().unwrap().remove("capabilities");
    let read: Inventory = stored::read(&row.to_string()).unwrap();
    assert_eq!(read.capabilities, casemate_core::node::Capabilities::default());
}
