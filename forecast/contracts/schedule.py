"""The words of JOB_SCHEDULE: which rows are work still to do, and which are no jobs at all."""

#: With one of these a row means load (or a window) to come; any other status (done, failed, cancelled) means none.
LIVE = ("running", "queued", "reserved")

#: `kind` of a window in which the entity and all below it are out of service.
MAINTENANCE = "maintenance"

#: `kind` of a row whose `planned_power_w` is imposed on the entity: a load to follow, or a cap to stay below. A plan's
#: `planned_fan_speed_rpm`, if it has one, is imposed too. Every other kind is a job.
PLAN, CAP = "plan", "cap"
