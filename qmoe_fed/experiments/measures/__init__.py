"""What a cell can measure: functions of plain arguments that return rows."""
