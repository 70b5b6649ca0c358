"""The Device Shadow service: the rules for documents, and the service on MQTT and HTTPS."""
