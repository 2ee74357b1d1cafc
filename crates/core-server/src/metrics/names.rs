//! Metric names. They are an interface: dashboards and alerts depend on them, and CHANGELOG names every change.

boot::metric_table! {
    /// Every metric of the core.
    pub enum Metric in "psicoia_core_" {
        ConnectionsOpen: Gauge "connections_open" [] "Open connections.";
        ConnectionsOpened: Counter "connections_opened_total" [] "Accepted connections.";
        ConnectionsClosed: Counter "connections_closed_total" ["reason"] "Closed connections, by reason.";
        AcceptBackoffs: Counter "accept_backoffs_total" []
            "Pauses of the accept loop after a resource error, such as the limit on open files.";
        SlowConsumerDisconnects: Counter "slow_consumer_disconnects_total" []
            "Connections closed because their outbox overflowed.";
        SessionsLive: Gauge "sessions_live" [] "Sessions with a connection or a running answer.";
        MessagesAccepted: Counter "messages_accepted_total" [] "Messages stored.";
        MessagesDeduplicated: Counter "messages_deduplicated_total" [] "Retries of messages that were stored already.";
        MessagesRejected: Counter "messages_rejected_total" ["code"] "Messages rejected, by error code.";
        HelpShown: Counter "help_shown_total" ["level"] "Help shown to a person at risk, by level.";
        AnswersBeyondLimits: Counter "answers_beyond_limits_total" []
            "Messages in risk answered by the companion because a limit allowed no call to the model.";
        Turns: Counter "turns_total" ["source", "finish"] "Answers, by source and finish.";
        TurnQueueWait: Histogram "turn_queue_wait_seconds" []
            "Time from accepted to a permit for the model, in seconds.";
        TimeToFirstToken: Histogram "time_to_first_token_seconds" []
            "Time from accepted to the first delta of the answer, in seconds.";
        TurnDuration: Histogram "turn_duration_seconds" [] "Time from accepted to the end of the answer, in seconds.";
        CommitDuration: Histogram "commit_duration_seconds" [] "Time to commit a message or an answer, in seconds.";
        CommitFailures: Counter "commit_failures_total" [] "Failed writes of a message or an answer.";
        ModelConcurrencyLimit: Gauge "model_concurrency_limit" []
            "Limit on concurrent answers of the model (MAX_IN_FLIGHT).";
        ModelPermitsInUse: Gauge "model_permits_in_use" [] "Answers that hold a permit for the model.";
        ModelQueueLength: Gauge "model_queue_length" [] "Messages waiting for a permit for the model.";
        ModelCalls: Counter "model_calls_total" ["provider", "outcome"] "Finished calls, by outcome.";
        ModelRetries: Counter "model_retries_total" [] "Retry rounds after every provider failed.";
        ModelTokens: Counter "model_tokens_total" []
            "Tokens of prompts and answers, as counted by the providers, else estimated.";
        ModelTokensToday: Gauge "model_tokens_today" []
            "Tokens used by all cores since midnight UTC, as known to this core.";
        ModelTokensPerDay: Gauge "model_tokens_per_day" [] "Daily token limit (LLM_TOKENS_PER_DAY); 0: unlimited.";
        ModelConnectionsMax: Gauge "model_connections_max" ["provider"]
            "Limit on concurrent calls to a provider (LLM_MAX_CONNECTIONS).";
        ModelConnectionsInUse: Gauge "model_connections_in_use" ["provider"]
            "Calls to a provider in flight, each with its own connection.";
        ModelConnectionsOpen: Gauge "model_connections_open" ["provider"] "Open connections to a provider.";
        ModelConnectionsIdle: Gauge "model_connections_idle" ["provider"] "Idle pooled connections to a provider.";
        ModelConnectionWait: Histogram "model_connection_wait_seconds" ["provider"]
            "Time to acquire a connection for a call, in seconds.";
        ModelConnectionsExhausted: Counter "model_connections_exhausted_total" ["provider"]
            "Calls that timed out waiting because the provider's limit was reached.";
        ModelConnects: Counter "model_connects_total" ["provider", "outcome"]
            "Connection attempts to a provider, by outcome: ok or failed.";
        ModelConnectDuration: Histogram "model_connect_duration_seconds" ["provider"]
            "Time to establish a connection to a provider, TLS included, in seconds.";
        BreakerState: Gauge "breaker_state" ["provider"]
            "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.";
        BreakerTransitions: Counter "breaker_transitions_total" ["provider", "to"]
            "Transitions of a provider's circuit breaker, by new state.";
        GuardCalls: Counter "guard_calls_total" ["outcome"]
            "Requests for a second opinion (GUARD_URL), by outcome of the call; never by level.";
        GuardCallDuration: Histogram "guard_call_duration_seconds" [] "Time to a second opinion, in seconds.";
        ClusterMembers: Gauge "cluster_members" []
            "Cores of the cluster, this one included, as known to this core; 1 without REDIS_URL.";
        RedisUp: Gauge "redis_up" [] "Whether this core is connected to Redis: 1, else 0.";
        RedisDisconnects: Counter "redis_disconnects_total" [] "Redis disconnects and failed connection attempts.";
        DatabaseConnectionsMax: Gauge "database_connections_max" []
            "Limit on connections to the PostgreSQL server; 0 with SQLite.";
        DatabaseConnectionsOpen: Gauge "database_connections_open" []
            "Connections to the PostgreSQL server, those being established included.";
        DatabaseConnectionsInUse: Gauge "database_connections_in_use" [] "Connections running a query.";
        DatabaseConnectionsIdle: Gauge "database_connections_idle" [] "Idle pooled connections.";
        DatabaseConnectionsPending: Gauge "database_connections_pending" []
            "Reads and writes waiting for a connection.";
        DatabaseConnectionWait: Histogram "database_connection_wait_seconds" []
            "Time to acquire a connection, in seconds.";
        DatabaseConnectionsExhausted: Counter "database_connections_exhausted_total" []
            "Time-outs waiting for a connection with every one in use.";
    }
}
