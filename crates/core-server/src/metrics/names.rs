//! Names of the metrics that no crate below owns. They are an interface: dashboards and alerts depend on them, and CHANGELOG names every change.

service_runtime::metric_table! {
    /// Metrics of connections, sessions, messages and turns.
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
    }
}
