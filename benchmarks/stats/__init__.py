"""Whether plans, reports and alarms are right as often as they say."""
