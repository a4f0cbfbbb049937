use super::*;

#[test]
fn returns_what_a_lease_holds() {
    let budget = ByteBudget::new(10);
    let mut lease = budget.lease();
    assert!(lease.try_grow(4) && lease.try_grow(6) && !lease.try_grow(1));
    lease.grow(5);
    assert_eq!((lease.bytes(), budget.used()), (15, 15));
    lease.shrink_to(3);
    assert_eq!((lease.bytes(), budget.used()), (3, 3));
    assert!(!lease.try_grow(usize::MAX), "an overflow is more than any budget");
    drop(lease);
    assert_eq!(budget.used(), 0);
}

#[test]
fn one_owner_leaves_as_much_for_others_as_it_holds() {
    let budget = ByteBudget::new(100);
    let take = |owner: &str| {
        let mut leases = Vec::new();
        loop {
            let mut lease = budget.lease_for(owner);
            if !lease.try_grow(10) {
                return leases;
            }
            leases.push(lease);
        }
    };
    let alice = take("alice");
    assert_eq!(alice.len(), 5);
    let bob = take("bob");
    assert_eq!(bob.len(), 2);
    assert!(budget.lease_for("carol").try_grow(30), "a single lease may take all that is free");
    drop((alice, bob));
    assert_eq!(budget.used(), 0);
    assert!(budget.0.shares.iter().all(|share| share.load(Relaxed) == 0));
}

#[test]
fn one_lease_of_an_owner_may_grow_to_the_limit() {
    let budget = ByteBudget::new(100);
    let mut lease = budget.lease_for("alice");
    assert!((0..10).all(|_| lease.try_grow(10)) && !lease.try_grow(1));
    assert!(lease.try_resize(40) && lease.try_resize(90) && !lease.try_resize(101));
    assert_eq!((lease.bytes(), budget.used()), (90, 90));
    assert_eq!(lease.sibling().bytes(), 0);
}

#[test]
fn several_threads_never_exceed_the_limit() {
    let budget = ByteBudget::new(64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let mut lease = budget.lease();
                    let _ = lease.try_grow(20);
                    assert!(budget.used() <= 64);
                }
            });
        }
    });
    assert_eq!(budget.used(), 0);
}
