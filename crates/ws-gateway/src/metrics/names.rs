//! The names, which are an interface: changing one breaks somebody's dashboard and says so in CHANGELOG.

boot::metric_table! {
    /// Every metric of the gateway.
    pub enum Metric in "psicoia_gateway_" {
        ConnectionsOpen: Gauge "connections_open" [] "WebSockets that are open.";
        ConnectionsOpened: Counter "connections_opened_total" [] "Upgrades that were granted.";
        ConnectionsClosed: Counter "connections_closed_total" ["code", "reason"]
            "WebSockets that have ended, by the code of their closing and its reason.";
        UpgradesRefused: Counter "upgrades_refused_total" ["reason"] "Upgrades that were not granted, by reason.";
        AcceptPauses: Counter "accept_pauses_total" []
            "Pauses in accepting connections because something was used up, such as open files.";
        CoreConnect: Histogram "core_connect_seconds" []
            "Time until a WebSocket had a connection to a core, all tries together, in seconds.";
        CoreConnections: Gauge "core_connections" ["core"] "Connections to a core, those being made included.";
        CoreConnectsFailed: Counter "core_connects_failed_total" ["core"]
            "Connections to a core that could not be made, or were lost at once.";
        CoreEjected: Gauge "core_ejected" ["core"]
            "Whether connections go to other cores because this one has failed: 1, else 0.";
    }
}
