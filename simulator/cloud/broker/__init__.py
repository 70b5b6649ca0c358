"""The MQTT broker's inside: connections, sessions, subscriptions, and the limits that AWS IoT sets."""
