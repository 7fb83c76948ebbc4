//! What every state promises, promised by a `LocalState`: alone, with ages, behind `dyn`, and behind an `Arc`.

mod conformance;

mod anonymous {
    use workfleet_shared_lock::LocalState;

    crate::conformance::tests!(async || LocalState::new());
}

mod with_ages {
    use workfleet_shared_lock::LocalState;

    crate::conformance::tests!(async || LocalState::builder().ages(true).key_limit_bytes(100).build());
}

mod behind_dyn {
    use std::sync::Arc;

    use workfleet_shared_lock::{DynSharedState, LocalState};

    crate::conformance::tests!(async || Arc::new(LocalState::new()) as Arc<dyn DynSharedState>);
}

mod shared {
    use std::sync::Arc;

    use workfleet_shared_lock::LocalState;

    crate::conformance::tests!(async || Arc::new(LocalState::new()));
}
