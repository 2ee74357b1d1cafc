//! The names, which are an interface: changing one breaks somebody's dashboard and says so in CHANGELOG.

boot::metric_table! {
    /// Every metric of the core.
    pub enum Metric in "psicoia_core_" {
        ConnectionsOpen: Gauge "connections_open" [] "Connections that are open.";
        ConnectionsOpened: Counter "connections_opened_total" [] "Connections that were accepted.";
        ConnectionsClosed: Counter "connections_closed_total" ["reason"] "Connections that have ended, by reason.";
        AcceptBackoffs: Counter "accept_backoffs_total" []
            "Pauses in accepting connections because something was used up, such as open files.";
        SlowConsumerDisconnects: Counter "slow_consumer_disconnects_total" []
            "Connections that were ended because too much waited to be written to them.";
        SessionsLive: Gauge "sessions_live" [] "Sessions that have a connection, or an answer under way.";
        MessagesAccepted: Counter "messages_accepted_total" [] "Messages that were stored.";
        MessagesDeduplicated: Counter "messages_deduplicated_total" [] "Messages that came again and had been stored before.";
        MessagesRejected: Counter "messages_rejected_total" ["code"]
            "Messages that were told an error in place of an answer, by its code.";
        HelpShown: Counter "help_shown_total" ["level"]
            "Times that help was shown to a person at risk, by level.";
        AnswersBeyondLimits: Counter "answers_beyond_limits_total" []
            "Messages in risk that the companion answered because a limit allowed no call to the model.";
        Turns: Counter "turns_total" ["source", "finish"] "Answers, by where they came from and how they ended.";
        TurnQueueWait: Histogram "turn_queue_wait_seconds" [] "Time from accepted to a slot for the model, in seconds.";
        TimeToFirstToken: Histogram "time_to_first_token_seconds" []
            "Time from accepted to the first piece of the answer, in seconds.";
        TurnDuration: Histogram "turn_duration_seconds" [] "Time from accepted to the end of the answer, in seconds.";
        CommitDuration: Histogram "commit_duration_seconds" [] "Time to store a message or an answer, in seconds.";
        CommitFailures: Counter "commit_failures_total" [] "Writes of a message or an answer that failed.";
        ModelConcurrencyLimit: Gauge "model_concurrency_limit" [] "Answers that may be under way at once (MAX_IN_FLIGHT).";
        ModelPermitsInUse: Gauge "model_permits_in_use" [] "Answers that have a slot for the model.";
        ModelQueueLength: Gauge "model_queue_length" [] "Messages that wait for a slot for the model.";
        ModelCalls: Counter "model_calls_total" ["provider", "outcome"] "Calls that have ended, by how.";
        ModelRetries: Counter "model_retries_total" []
            "Times that every provider had failed and was asked again after a pause.";
        ModelTokens: Counter "model_tokens_total" []
            "Tokens of prompts and answers, as counted by the providers, else estimated.";
        ModelTokensToday: Gauge "model_tokens_today" []
            "Tokens used since midnight UTC by all cores, as far as this one knows.";
        ModelTokensPerDay: Gauge "model_tokens_per_day" [] "Tokens that may be used in a day (LLM_TOKENS_PER_DAY); 0: no limit.";
        ModelConnectionsMax: Gauge "model_connections_max" ["provider"]
            "Calls to a provider that may be under way at once (LLM_MAX_CONNECTIONS).";
        ModelConnectionsInUse: Gauge "model_connections_in_use" ["provider"]
            "Calls to a provider under way; each has a connection of its own.";
        ModelConnectionsOpen: Gauge "model_connections_open" ["provider"] "Connections to a provider that are open.";
        ModelConnectionsIdle: Gauge "model_connections_idle" ["provider"]
            "Connections to a provider that are open and carry no call.";
        ModelConnectionWait: Histogram "model_connection_wait_seconds" ["provider"]
            "Time until a call might have a connection, in seconds.";
        ModelConnectionsExhausted: Counter "model_connections_exhausted_total" ["provider"]
            "Calls that were given up because all that are allowed were under way.";
        ModelConnects: Counter "model_connects_total" ["provider", "outcome"]
            "Connections to a provider that were made, or could not be.";
        ModelConnectDuration: Histogram "model_connect_duration_seconds" ["provider"]
            "Time to make a connection to a provider, TLS included, in seconds.";
        BreakerState: Gauge "breaker_state" ["provider"]
            "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.";
        BreakerTransitions: Counter "breaker_transitions_total" ["provider", "to"]
            "Changes of a provider's circuit breaker, by its new state.";
        GuardCalls: Counter "guard_calls_total" ["outcome"]
            "Second opinions that were wanted (GUARD_URL), by whether there was one; never by what it was.";
        GuardCallDuration: Histogram "guard_call_duration_seconds" [] "Time to a second opinion, in seconds.";
        ClusterMembers: Gauge "cluster_members" []
            "Cores that share the limits, this one included, as far as it knows; 1 without REDIS_URL.";
        RedisUp: Gauge "redis_up" []
            "Whether limits and events are shared through Redis now: 1, else 0.";
        RedisDisconnects: Counter "redis_disconnects_total" []
            "Times that Redis could not be reached any more, or not yet.";
        DatabaseConnectionsMax: Gauge "database_connections_max" []
            "Connections to the PostgreSQL server at most; 0 with SQLite.";
        DatabaseConnectionsOpen: Gauge "database_connections_open" [] "Connections to the PostgreSQL server.";
        DatabaseConnectionsInUse: Gauge "database_connections_in_use" [] "Connections on which something is done.";
        DatabaseConnectionsIdle: Gauge "database_connections_idle" [] "Connections that may be had at once.";
        DatabaseConnectionsPending: Gauge "database_connections_pending" [] "Writes and reads that wait for one.";
        DatabaseConnectionWait: Histogram "database_connection_wait_seconds" []
            "Time until a connection was free or made, in seconds.";
        DatabaseConnectionsExhausted: Counter "database_connections_exhausted_total" []
            "Waits for a connection that were given up because every one was in use.";
    }
}
