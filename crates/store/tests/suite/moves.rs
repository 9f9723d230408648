//! CVMs that change their node, and the VMs that they leave behind.

use casemate_core::{
    cvm::{PortMap, Resources, Spec},
    id::CvmName,
};
use casemate_store::{
    Db,
    cvms::{self, Cvm, Filter, Intent, PageStart},
    left_vms, nodes,
};

use crate::world::{START, World, at, told};

/// Slots and virtual CPUs by node, of nodes that have any.
async fn taken(db: &Db) -> Vec<(i64, i64, i64)> {
    let taken = nodes::usage(db).await.unwrap();
    taken.iter().map(|one| (one.node_id, one.slots, one.vcpu)).collect()
}

async fn listed(world: &World) -> usize {
    let filter = Filter { node: Some(world.node), user: None };
    let page = cvms::page(&world.db, world.workspace, filter, PageStart::Skip(0), 9).await.unwrap();
    assert_eq!(page.items.len(), usize::try_from(page.total).unwrap());
    page.items.len()
}

async fn room_is_taken_on_both_nodes_until_the_vm_is_gone(db: Db) {
    let one = World::new(db.clone()).await;
    let (two, three) = (one.node("node-2").await, one.node("node-3").await);
    let cvm = one.cvm("alpha").await;
    let (first, second, third) = (one.node.0, two.node.0, three.node.0);
    assert_eq!(cvm.moves_to, None);

    let begin = async |cvm: &Cvm, to: &World| {
        let mut tx = db.begin().await.unwrap();
        let before = tx.begin_move(cvm, &cvm.spec, to.node).await.unwrap();
        assert_eq!((before.slots, before.vcpu), (0, 0), "what others take");
        tx.commit().await.unwrap();
    };
    begin(&cvm, &two).await;
    assert_eq!(taken(&db).await, [(first, 1, 2), (second, 1, 2)]);
    let moving = one.read(cvm.id).await;
    assert_eq!((moving.node, moving.moves_to), (one.node, Some(two.node)));
    let found = cvms::anywhere(&db, &CvmName::Number(cvm.id)).await.unwrap().unwrap();
    assert_eq!(found, moving);

    // Another target takes the place of the first.
    begin(&moving, &three).await;
    let moving = one.read(cvm.id).await;
    assert_eq!(taken(&db).await, [(first, 1, 2), (third, 1, 2)]);

    // What it takes changes on both.
    let resources = Resources { vcpu: 5, ..moving.spec.resources.clone() };
    let ports = vec![PortMap {
        protocol: "tcp".to_owned(),
        host_port: 8080,
        vm_port: 80,
        host_address: None,
    }];
    let spec = Spec { resources, ports: ports.clone(), ..moving.spec.clone() };
    let intent = Intent {
        spec: &spec,
        sealed_env: None,
        desired: &moving.desired,
        status: &moving.status,
        phase: moving.phase,
        due: true,
    };
    let mut tx = db.begin().await.unwrap();
    tx.set_intent(&moving, &intent, START).await.unwrap();
    for node in [one.node, three.node] {
        assert_eq!(tx.ports_on_node(node, None).await.unwrap(), ports, "its ports, too");
        assert_eq!(tx.ports_on_node(node, Some(cvm.id)).await.unwrap(), []);
    }
    tx.commit().await.unwrap();
    assert_eq!(taken(&db).await, [(first, 1, 5), (third, 1, 5)]);

    assert_eq!((listed(&one).await, listed(&three).await), (1, 0));
    let moving = one.read(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    tx.end_move(&moving, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(taken(&db).await, [(third, 1, 5)]);
    assert_eq!((listed(&one).await, listed(&three).await), (0, 1));
    let moved = one.read(cvm.id).await;
    assert_eq!((moved.node, moved.moves_to, moved.instance_id), (three.node, None, None));

    // Without a move nothing ends.
    let mut tx = db.begin().await.unwrap();
    tx.end_move(&moved, at(1)).await.unwrap();
    tx.drop_move(&moved).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(taken(&db).await, [(third, 1, 5)]);
}

async fn a_move_that_does_not_come_frees_its_room(db: Db) {
    let one = World::new(db.clone()).await;
    let two = one.node("node-2").await;
    let cvm = one.cvm("alpha").await;
    let begin = async |cvm: &Cvm| {
        let mut tx = db.begin().await.unwrap();
        tx.begin_move(cvm, &cvm.spec, two.node).await.unwrap();
        tx.commit().await.unwrap();
    };
    begin(&cvm).await;
    let mut tx = db.begin().await.unwrap();
    tx.drop_move(&cvm).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(taken(&db).await, [(one.node.0, 1, 2)]);
    begin(&cvm).await;
    one.delete(cvm.id, at(1)).await;
    assert_eq!(taken(&db).await, [], "a deletion frees both");
    let mut tx = db.begin().await.unwrap();
    assert!(tx.remove_node(two.node, false).await.unwrap());
}

async fn a_vm_that_is_left_is_kept_until_it_is_gone(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let instance = "ab".repeat(20);
    let cvm =
        Cvm { instance_id: told(instance.parse().unwrap()).observed.unwrap().instance_id, ..cvm };
    let mut tx = db.begin().await.unwrap();
    tx.leave_vm(&cvm, at(5), START).await.unwrap();
    tx.leave_vm(&cvm, at(9), START).await.unwrap();
    assert!(tx.has_left_vm(world.node, cvm.id).await.unwrap());
    tx.commit().await.unwrap();
    let all = left_vms::all(&db, 9).await.unwrap();
    let [left] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((left.node_id, left.cvm_id, &*left.name), (world.node.0, cvm.id.0, "alpha"));
    assert_eq!((left.settles_at, left.instance_id.as_deref()), (at(9).micros(), Some(&*instance)));
    assert_eq!(left.vm_uuid, cvm.uuid.to_string());
    let mut tx = db.begin().await.unwrap();
    tx.unregister_left_vm(world.node, cvm.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(left_vms::all(&db, 9).await.unwrap()[0].instance_id, None);
    let mut tx = db.begin().await.unwrap();
    tx.forget_left_vm(world.node, cvm.id).await.unwrap();
    assert!(!tx.has_left_vm(world.node, cvm.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(left_vms::all(&db, 9).await.unwrap(), []);
}

casemate_testing::each_backend!(
    room_is_taken_on_both_nodes_until_the_vm_is_gone,
    a_move_that_does_not_come_frees_its_room,
    a_vm_that_is_left_is_kept_until_it_is_gone,
);
