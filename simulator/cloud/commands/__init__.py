"""Remote commands: state and rules, values, operations, and their MQTT topics."""
