//! ServiceMap and one backend per mode.
