"""Rows of the field table: what every resource uses: addresses, headers, matchers, TLS, logs."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CORE = "envoy.config.core.v3."
_MATCHER = "envoy.type.matcher.v3."
_TLS = "envoy.extensions.transport_sockets.tls.v3."
_WATCHED = "it is for secrets by SDS, and the folders of all files that these name are watched"
FETCH_TIMEOUT = "a first answer is always waited for 15 s, Envoy's default"

_FORMATTERS = "envoy.extensions.http.header_formatters."

COMMON: Table = {
    _CORE + "Address": Fields("socket_address pipe"),
    _CORE + "SocketAddress": Fields("protocol address port_value ipv4_compat"),
    _CORE + "Pipe": Fields("path", only={"mode": 0}),
    _CORE + "CidrRange": Fields("address_prefix prefix_len"),
    _CORE + "Locality": Fields("region zone sub_zone"),
    _CORE + "HeaderValue": Fields("key value raw_value"),
    _CORE + "HeaderValueOption": Fields("header append append_action keep_empty_value"),
    _CORE + "DataSource": Fields("filename inline_bytes inline_string environment_variable"),
    _CORE + "Metadata": Fields(
        "filter_metadata",
        {"typed_filter_metadata": "no filter of this version reads typed metadata"},
    ),
    _CORE + "TransportSocket": Fields("name typed_config"),
    _CORE + "RuntimeFractionalPercent": Fields("default_value runtime_key"),
    _CORE + "TypedExtensionConfig": Fields("name typed_config"),
    _CORE + "ConfigSource": Fields(
        "ads self path path_config_source resource_api_version",
        {"initial_fetch_timeout": FETCH_TIMEOUT},
    ),
    _CORE + "PathConfigSource": Fields(
        "path", {"watched_directory": "the folder of the file is watched, whatever is moved there"}
    ),
    _CORE + "AggregatedConfigSource": Fields(),
    _CORE + "SelfConfigSource": Fields("transport_api_version"),
    _CORE + "SubstitutionFormatString": Fields(
        "text_format text_format_source json_format content_type omit_empty_values formatters",
        {"json_format_options": "the keys of JSON lines are always sorted"},
    ),
    _CORE + "HttpProtocolOptions": Fields(
        "idle_timeout max_connection_duration max_headers_count max_response_headers_kb "
        "max_requests_per_connection max_stream_duration headers_with_underscores_action",
    ),
    _CORE + "Http1ProtocolOptions": Fields(
        "accept_http_10 default_host_for_http_10 enable_trailers allow_chunked_length "
        "header_key_format allow_custom_methods",
        {"use_balsa_parser": "it chooses between two parsers of Envoy's own"},
        {"allow_absolute_url": True, "override_stream_error_on_invalid_http_message": False},
    ),
    _CORE + "Http1ProtocolOptions.HeaderKeyFormat": Fields("proper_case_words stateful_formatter"),
    _CORE + "Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords": Fields(),
    _FORMATTERS + "preserve_case.v3.PreserveCaseFormatterConfig": Fields(),
    _CORE + "Http2ProtocolOptions": Fields(
        "hpack_table_size max_concurrent_streams initial_stream_window_size "
        "initial_connection_window_size allow_connect max_outbound_frames "
        "max_outbound_control_frames max_consecutive_inbound_frames_with_empty_payload "
        "max_inbound_priority_frames_per_stream "
        "max_inbound_window_update_frames_per_data_frame_sent "
        "stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message "
        "custom_settings_parameters connection_keepalive",
        {
            "use_oghttp2_codec": "it chooses between two codecs of Envoy's own",
            "max_metadata_size": "it belongs to allow_metadata, which is refused",
        },
        {"allow_metadata": False},
    ),
    _CORE + "Http2ProtocolOptions.SettingsParameter": Fields("identifier value"),
    _CORE + "KeepaliveSettings": Fields(
        "interval timeout interval_jitter connection_idle_interval"
    ),
    "envoy.type.v3.Percent": Fields("value"),
    "envoy.type.v3.FractionalPercent": Fields("numerator denominator"),
    "envoy.type.v3.Int64Range": Fields("start end"),
    _MATCHER + "StringMatcher": Fields("exact prefix suffix safe_regex contains ignore_case"),
    _MATCHER + "RegexMatcher": Fields(
        "regex", {"google_re2": "RE2 is the only engine; its program size is bounded by itself"}
    ),
    _MATCHER + "RegexMatchAndSubstitute": Fields("pattern substitution"),
    _TLS + "DownstreamTlsContext": Fields(
        "common_tls_context require_client_certificate session_timeout prefer_client_ciphers "
        "disable_stateless_session_resumption disable_stateful_session_resumption "
        "ocsp_staple_policy",
        only={"require_sni": False, "full_scan_certs_on_sni_mismatch": False},
    ),
    _TLS + "UpstreamTlsContext": Fields(
        "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys",
        {"enforce_rsa_key_usage": "OpenSSL checks the key usage of a certificate by itself"},
        {"allow_renegotiation": False},
    ),
    _TLS + "CommonTlsContext": Fields(
        "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context "
        "validation_context_sds_secret_config combined_validation_context alpn_protocols"
    ),
    _TLS + "CommonTlsContext.CombinedCertificateValidationContext": Fields(
        "default_validation_context validation_context_sds_secret_config"
    ),
    _TLS + "TlsParameters": Fields(
        "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves "
        "signature_algorithms"
    ),
    _TLS + "TlsCertificate": Fields(
        "certificate_chain private_key password pkcs12 ocsp_staple", {"watched_directory": _WATCHED}
    ),
    _TLS + "CertificateValidationContext": Fields(
        "trusted_ca match_typed_subject_alt_names match_subject_alt_names system_root_certs crl "
        "only_verify_leaf_cert_crl verify_certificate_hash verify_certificate_spki "
        "allow_expired_certificate trust_chain_verification max_verify_depth "
        "custom_validator_config",
        {"watched_directory": _WATCHED},
        {"require_signed_certificate_timestamp": False},
    ),
    _TLS + "CertificateValidationContext.SystemRootCerts": Fields(),
    _TLS + "SPIFFECertValidatorConfig": Fields("trust_domains trust_bundles"),
    _TLS + "SPIFFECertValidatorConfig.TrustDomain": Fields("name trust_bundle"),
    _TLS + "SubjectAltNameMatcher": Fields("san_type matcher oid"),
    _TLS + "SdsSecretConfig": Fields("name sds_config"),
    _TLS + "Secret": Fields("name tls_certificate validation_context"),
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": Fields(),
}
